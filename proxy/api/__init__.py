"""The endpoints: handlers beside their paths."""
