"""What kvmtune costs, measured next to its peers and to the least that is possible."""
