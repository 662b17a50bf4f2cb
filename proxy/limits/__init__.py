"""Limits of callers, and their usage, counted in windows of time."""
