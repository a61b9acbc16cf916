"""How commands print: tables on a terminal, plain aligned text in a pipe, JSON or CSV where asked.

Nothing that comes out of a record can move the cursor or turn text around: what is not printable is shown escaped.
Values are rounded for eyes only on a terminal; a pipe gets them as they are.
"""

from __future__ import annotations

import csv
import io
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from typer import secho

from horde_model_reference.formats.json_codec import encode, encode_pretty

__all__ = ["Table", "at_time", "say", "tell", "working"]


@dataclass(frozen=True)
class Table:
    """Rows of JSON values under column names. Only a terminal shows the `title`; people are told `without_rows`, where
    it is given, in place of a table that has none."""

    columns: Sequence[str]
    rows: Sequence[Sequence[object]]
    title: str = ""
    without_rows: str = ""

    def as_objects(self) -> list[dict[str, object]]:
        return [dict(zip(self.columns, row, strict=True)) for row in self.rows]

    def print(self, as_json: bool = False, value: object = None) -> None:
        """Print it for people; or `value` as JSON, where there is none one object a row."""
        if as_json:
            _write(encode_pretty(self.as_objects() if value is None else value).decode())
        elif self.without_rows and not self.rows:
            say(self.without_rows)
        elif sys.stdout.isatty():
            self._draw()
        else:
            lines = [self.columns, *([_printable(_text(value)) for value in row] for row in self.rows)]
            widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
            for line in lines:
                print("  ".join(map(str.ljust, line, widths)).rstrip())

    def print_csv(self) -> None:
        """Print comma separated values with a header; lists and objects as JSON, nothing for null."""
        page = io.StringIO()
        csv.writer(page, lineterminator="\n").writerows([self.columns, *(map(_text, row) for row in self.rows)])
        _write(page.getvalue())

    def _draw(self) -> None:
        from rich.box import SIMPLE_HEAD
        from rich.console import Console
        from rich.filesize import decimal
        from rich.table import Table as RichTable

        shown = RichTable(title=_printable(self.title) or None, box=SIMPLE_HEAD, title_justify="left")
        for place, column in enumerate(self.columns):
            kinds = {type(row[place]) for row in self.rows if row[place] is not None}
            numeric = kinds and kinds <= {int, float}
            shown.add_column(column.replace("_", " "), justify="right" if numeric else "left", overflow="fold")
        for row in self.rows:
            named = zip(self.columns, row, strict=True)
            cells = (
                decimal(v, precision=2) if c.endswith("_bytes") and isinstance(v, int) else _text(v) for c, v in named
            )
            shown.add_row(*map(_printable, cells))
        Console(markup=False, emoji=False, highlight=False).print(shown)  # a name means nothing but itself


def say(text: str, **style: Any) -> None:
    """A line for people on standard output; on a terminal in that style, as `click.style` has it."""
    secho(_printable(text), color=False if "NO_COLOR" in os.environ else None, **style)


def tell(text: str) -> None:
    """A line about the work itself, on standard error."""
    print(_printable(text), file=sys.stderr)


def at_time(milliseconds: float) -> str:
    """Unix milliseconds as ISO 8601 in UTC, to the second."""
    return datetime.fromtimestamp(milliseconds // 1000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


@contextmanager
def working(what: str, total: int | None = None) -> Iterator[Callable[..., None]]:
    """A progress bar on standard error, where that is a terminal: call what it gives once a step. Without a total it is
    only a sign of life."""
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True, disable=not sys.stderr.isatty()) as progress:
        task = progress.add_task(what, total=total)
        yield lambda *_: progress.advance(task)


def _text(value: object) -> str:
    if value is None or isinstance(value, str):
        return value or ""
    if isinstance(value, list) and all(isinstance(item, str) for item in value):
        return ", ".join(value)
    return encode(value).decode()


def _write(text: str) -> None:
    """For programs as it is; for eyes line by line without what could deceive them."""
    sys.stdout.write("\n".join(map(_printable, text.split("\n"))) if sys.stdout.isatty() else text)


def _printable(text: str) -> str:
    return text if text.isprintable() else "".join(c if c.isprintable() else f"\\u{ord(c):04x}" for c in text)
