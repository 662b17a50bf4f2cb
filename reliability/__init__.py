"""The service under attack: `python -m reliability`."""
