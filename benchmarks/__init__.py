"""Benchmarks: one module per question, run with `python -m benchmarks.NAME`. See README.md."""
