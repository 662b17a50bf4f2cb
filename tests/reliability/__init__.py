"""Attacks on the service, each by what it must not achieve."""
