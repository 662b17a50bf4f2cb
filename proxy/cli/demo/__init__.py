"""`models-proxy demo`: small providers to try the proxy with."""
