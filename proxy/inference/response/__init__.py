"""Responses of providers: relay them with the requested model id, and count the tokens they report."""
