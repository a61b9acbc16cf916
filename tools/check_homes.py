"""Which part of the product may use which library: the HTTP library lives behind one module, SQL in the stores.

A table instead of import-linter's `protected` contracts, because those cover modules of the product only.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator

import grimp

from tools.workshop import PACKAGE, ROOT, finish

__all__ = ["HOMES", "main", "strays"]

HOMES: dict[str, tuple[str, ...]] = {
    "fastapi": ("service",),
    "httpx": ("transport",),
    "psycopg": ("stores",),
    "pydantic_settings": ("settings",),
    "rich": ("cli",),
    "sqlalchemy": ("stores",),
    "sqlite3": ("stores",),
    "starlette": ("service",),
    "typer": ("cli",),
    "uvicorn": ("cli", "service"),
}


def strays(imports: Iterable[tuple[str, str]]) -> Iterator[str]:
    """The imports, as pairs (importer, imported), of a library outside its home."""
    for importer, imported in sorted(imports):
        homes = HOMES.get(imported.partition(".")[0])
        part = importer.removeprefix(f"{PACKAGE}.").partition(".")[0]
        if homes is not None and part not in homes:
            yield f"{importer} imports {imported}, which belongs in {' or '.join(homes)}"


def main() -> int:
    """Check the package as it lies in `src`."""
    sys.path.insert(0, str(ROOT / "src"))
    graph = grimp.build_graph(PACKAGE, include_external_packages=True, cache_dir=None)
    own = [module for module in graph.modules if module.partition(".")[0] == PACKAGE]
    pairs = [(module, other) for module in own for other in graph.find_modules_directly_imported_by(module)]
    return finish("homes", strays(pairs), f"{len(HOMES)} libraries, each at home")


if __name__ == "__main__":
    sys.exit(main())
