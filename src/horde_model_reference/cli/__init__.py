"""The command line, `hmr`. Its packages are an extra, so this module imports none of them before it has looked."""

from __future__ import annotations

import sys
from importlib.util import find_spec

from horde_model_reference.errors import MissingExtra

__all__ = ["run"]


def run() -> None:
    """The entry point of `hmr`, `horde-model-reference` and `python -m horde_model_reference`; ends the process."""
    if find_spec("typer") is None:
        print(f"hmr: {MissingExtra('the command line', 'cli')}", file=sys.stderr)
        raise SystemExit(2)
    from horde_model_reference.cli.main import main

    raise SystemExit(main())
