"""kvmtune-actuator: turns PromQL rules into bounded, verified, reversible changes of knobs."""
