"""Write docs/configuration.md and .env.example from the settings; `--check` only tells whether they are current."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from itertools import groupby
from pathlib import Path

from horde_model_reference.domain.findings import JsonValue
from horde_model_reference.settings import HordeModelReferenceSettings
from horde_model_reference.settings_report import SettingRow, describe_settings

ROOT = Path(__file__).resolve().parents[1]

INTRO = """\
# Configuration

<!-- Written by tools/generate_configuration.py from the settings themselves; edits here are overwritten. -->

Settings come from environment variables. `import horde_model_reference` copies those that concern it, and the settings
are built from that copy when they are first needed: a variable changed after the import has no effect. `.env` files are
not read. `hmr config` prints every setting with the value in force and where it came from; secrets are masked.

* Names are read in any letter case. Variables that begin with `HORDE_MODEL_REFERENCE_` and are no setting are ignored.
* A list is comma separated (`a, b`) or a JSON array (`["a", "b"]`).
* A setting in a group is `HORDE_MODEL_REFERENCE_<GROUP>__<NAME>`, with two underscores. A group can also be given whole
  as a JSON object, `HORDE_MODEL_REFERENCE_REDIS={"use_redis": true}`; where both are given, the single variable wins.
* A value that cannot be used stops the program with an error that names the variable and what is allowed.
* In Python, `HordeModelReferenceSettings(offline=True)` overrides the environment, and attributes can be assigned to.

"Read by" tells which part of this release acts on a setting. **Not read yet** means that the setting is accepted, so
that existing deployments start, and has no effect in this release.
"""

COMBINATIONS = """\

## Combinations

Some settings cannot work together. They are put right when the settings are built, with a line in the log.

| with | what happens | logged as |
|---|---|---|
| `OFFLINE` | Redis and seeding from GitHub are turned off | info |
| `REPLICA` and `REDIS__USE_REDIS` | Redis is turned off | warning |
| `REPLICA` and `GITHUB_SEED_ENABLED` | seeding is turned off | warning |
| `REPLICA` and an empty `PRIMARY_API_URL` | there is no PRIMARY to read; not said when offline | warning |
| `REPLICA` and `CANONICAL_FORMAT=legacy` | nothing: a REPLICA accepts no writes | warning |
| `PRIMARY` without Redis | other hosts hear of changes late | info |
| `PRIMARY` and `CANONICAL_FORMAT=legacy` | v1 accepts writes, v2 is read-only | info |

## Variables of 8.x that are ignored

`HORDE_GITHUB_SYNC_*`, `GITHUB_APP_*` and `GITHUB_TOKEN` steer a tool that publishes to GitHub, which this package does
not have. `API_KEY`, `ALT_HORDE_URLS`, `HF_HOME` and `XDG_CACHE_HOME` are other programs'. None of them is an error.
"""
EXAMPLE_INTRO = """\
# Every setting with its default, commented out. What they mean in full: docs/configuration.md
# The package reads no file itself: hand it to systemd (EnvironmentFile=), docker (--env-file) or a shell.
"""


def page(rows: Iterable[SettingRow]) -> str:
    """The configuration page."""
    parts = [INTRO]
    for (group, heading), members in groupby(rows, key=lambda row: (row.group, row.heading)):
        parts.append(f"\n## {heading or 'General'}\n")
        if group not in ("", "environment"):
            parts.append(f"\nThe whole group: `HORDE_MODEL_REFERENCE_{group.upper()}`.\n")
        parts.append("\n| variable | type | default | meaning | read by |\n|---|---|---|---|---|\n")
        parts.extend(_table_line(row) for row in members)
    return "".join((*parts, COMBINATIONS))


def example(rows: Iterable[SettingRow]) -> str:
    """The example of an environment file: every variable, commented out, at its default."""
    parts = [EXAMPLE_INTRO]
    for heading, members in groupby(rows, key=lambda row: row.heading):
        parts.append(f"\n# ---- {heading or 'General'} ----\n")
        for row in members:
            unread = " (not read yet)" if row.status == "not read yet" else ""
            parts.append(f"\n# {row.description}{unread}\n# {row.env}={_written(row.default)}\n")
    return "".join(parts)


def _table_line(row: SettingRow) -> str:
    status = "**not read yet**" if row.status == "not read yet" else row.status
    default = f"`{_written(row.default)}`" if row.default not in (None, "", []) else "none"
    cells = (f"`{row.env}`", f"`{row.type}`", default, row.description, status)
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |\n"


def _written(value: JsonValue) -> str:
    if value is None:
        return ""
    if isinstance(value, list):  # comma separated: a shell that sources the file would take JSON's quotes away
        return ",".join(map(str, value))
    return value if isinstance(value, str) else json.dumps(value)


def main(arguments: list[str]) -> int:
    """Write, or with `--check` compare; 1 where a file is out of date."""
    rows = describe_settings(HordeModelReferenceSettings.model_construct())
    stale = []
    for name, text in (("docs/configuration.md", page(rows)), (".env.example", example(rows))):
        file = ROOT / name
        if "--check" not in arguments:
            file.parent.mkdir(exist_ok=True)
            file.write_text(text, encoding="utf-8")
        elif not file.is_file() or file.read_text(encoding="utf-8") != text:
            stale.append(name)
            print(f"{name} is out of date: run python tools/generate_configuration.py")
    return 1 if stale else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
