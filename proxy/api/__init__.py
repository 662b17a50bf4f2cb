"""The endpoints: handlers next to their paths."""
