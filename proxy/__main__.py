"""`python -m proxy` is the command `models-proxy`."""

from proxy.cli.main import main

main(prog_name="models-proxy")
