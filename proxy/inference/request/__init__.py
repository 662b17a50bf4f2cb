"""What a caller sends: which models it names, and the same bytes with the provider's ids."""
