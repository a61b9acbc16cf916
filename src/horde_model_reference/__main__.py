"""`python -m horde_model_reference`: the command line."""

from __future__ import annotations

from horde_model_reference.cli import run

if __name__ == "__main__":
    run()
