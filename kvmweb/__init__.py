"""The web side that both programs share: /metrics, a landing page, /-/healthy and /-/ready, TLS and passwords."""
