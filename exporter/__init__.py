"""kvmtune-exporter: publishes what is true of a KVM host. It reads, and never writes."""
