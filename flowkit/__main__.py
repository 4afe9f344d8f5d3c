"""``python -m flowkit``."""

from flowkit.cli import main

main(prog_name="flowkit")
