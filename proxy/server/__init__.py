"""The ASGI application, its HTTP protocol and its life cycle."""
