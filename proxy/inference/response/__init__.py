"""Responses of providers: the same bytes with the requested model id, and the tokens they report."""
