"""`models-proxy top`: a live table of a running server."""
