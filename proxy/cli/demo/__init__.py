"""`models-proxy demo`: simulated providers, and commands to try the proxy with."""
