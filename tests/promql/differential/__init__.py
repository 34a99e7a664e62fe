"""Random queries, asked of the evaluator and of a real Prometheus 2.42 on the same random data."""
