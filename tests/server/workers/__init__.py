"""Tests of several workers and their supervisor."""
