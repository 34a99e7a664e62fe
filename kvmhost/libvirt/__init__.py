"""What libvirt tells of guests, asked in the background by a process that can be killed. `reader` is its front."""
