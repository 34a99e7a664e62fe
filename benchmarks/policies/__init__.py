"""What whole policies do to a host and its guests, next to those of the peers."""
