"""What a provider returns: the same bytes with the caller's model id, and the tokens it reports."""
