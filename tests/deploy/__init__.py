"""Examples for deployments, run with the real tools (curl, nginx, Prometheus ...), which `.ci/run` installs.

Not collected by `pytest` without arguments, because the tools are system packages: run `pytest tests/deploy`.
"""
