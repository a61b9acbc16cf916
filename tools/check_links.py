"""Links between the pages: the file is there, and so is the heading. Web addresses are not asked."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path

from tools.workshop import ROOT, finish

__all__ = ["anchors", "broken", "main", "pages", "prose"]

_LINK = re.compile(r"(?<!\\)\[[^\]]*\]\(<?([^)\s>]+)>?(?:\s+\"[^\"]*\")?\)")
_HEADING = re.compile(r"^#{1,6}\s+(.+?)\s*#*$", re.MULTILINE)
_FENCE = re.compile(r"^(`{3,}|~{3,}).*?^\1\s*$", re.MULTILINE | re.DOTALL)
_ELSEWHERE = re.compile(r"[a-z][a-z0-9+.-]*:", re.IGNORECASE)


def prose(text: str) -> str:
    """A page without its fenced blocks."""
    return _FENCE.sub("", text)


def anchors(text: str) -> set[str]:
    """The names by which the headings of a page can be linked to."""
    found: set[str] = set()
    for heading in _HEADING.findall(prose(text)):
        plain = re.sub(r"[^\w\- ]", "", re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading)).lower().replace(" ", "-")
        taken = sum(1 for name in found if re.fullmatch(rf"{re.escape(plain)}(-\d+)?", name))
        found.add(f"{plain}-{taken}" if taken else plain)
    return found


def broken(page: Path) -> Iterator[str]:
    """The links of a page that lead nowhere, with the reason."""
    text = page.read_text("utf-8")
    for target in _LINK.findall(prose(text)):
        if _ELSEWHERE.match(target):
            continue
        name, _, anchor = target.partition("#")
        aim = (page.parent / name) if name else page
        if not aim.exists():
            yield f"{target}: there is no such file"
        elif anchor and aim.suffix == ".md" and anchor not in anchors(aim.read_text("utf-8")):
            yield f"{target}: there is no such heading"


def pages(root: Path = ROOT) -> list[Path]:
    """Every page that people read."""
    return sorted([*root.glob("*.md"), *(root / "docs").rglob("*.md")])


def main() -> int:
    """Check all pages."""
    found = [f"{page.relative_to(ROOT)}: {fault}" for page in pages() for fault in broken(page)]
    return finish("links", found, f"{len(pages())} pages, no broken link")


if __name__ == "__main__":
    sys.exit(main())
