"""Request bodies: the models they select, and the same bytes with the provider's ids."""
