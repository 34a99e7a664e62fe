"""Where samples come from, where they are kept, and who answers queries about them."""
