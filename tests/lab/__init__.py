"""Real guests, a real libvirtd and the real kernel, for the end-to-end tests and for `make lab`."""
