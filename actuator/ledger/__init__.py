"""What is on disk of each change, so that it can be put back after a crash at any point."""
