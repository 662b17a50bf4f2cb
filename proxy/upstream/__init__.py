"""All outgoing HTTP of the server: the only package that imports httpx or aiohttp."""
