"""The live view of `kvmtune-actuator top`.

`scene` is what it shows, `feed` where that comes from, `view` how it looks, and `screen` the terminal.
"""
