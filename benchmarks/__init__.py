"""How fast it is: one module for each question, each run by `python -m benchmarks.NAME`; see README.md."""
