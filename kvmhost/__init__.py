"""What is true of this host and its guests. Read-only: no HTTP, no rules, no writes."""
