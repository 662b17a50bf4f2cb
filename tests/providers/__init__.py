"""All fake providers of tests and benchmarks."""
