"""Several worker processes that share a port, and the process that supervises them."""
