"""The status page: what administrators see and do in a browser."""
