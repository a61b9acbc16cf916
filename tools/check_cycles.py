"""No import cycles, also counting imports inside functions and those for typing only.

Submodules that name their own package (`from horde_model_reference import x`) are an import of its `__init__`.
The lazy exports of an `__init__` are strings and no imports.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping

import grimp

from tools.workshop import PACKAGE, ROOT, finish

__all__ = ["cycles", "main"]

Graph = Mapping[str, set[str]]


def _reachable(graph: Graph, start: str) -> set[str]:
    seen: set[str] = set()
    ahead = list(graph[start])
    while ahead:
        module = ahead.pop()
        if module not in seen:
            seen.add(module)
            ahead.extend(graph[module])
    return seen


def cycles(graph: Graph) -> Iterator[tuple[str, ...]]:
    """The groups of modules of which each imports, directly or not, every other."""
    reach = {module: _reachable(graph, module) for module in graph}
    told: set[str] = set()
    for module in sorted(graph):
        if module in reach[module] and module not in told:
            group = {other for other in reach[module] if module in reach[other]}
            told |= group
            yield tuple(sorted(group))


def main() -> int:
    """Check the package as it lies in `src`."""
    sys.path.insert(0, str(ROOT / "src"))
    graph = grimp.build_graph(PACKAGE, cache_dir=None)
    imports = {module: set(graph.find_modules_directly_imported_by(module)) for module in graph.modules}
    found = (f"cycle: {' <-> '.join(group)}" for group in cycles(imports))
    edges = sum(len(imported) for imported in imports.values())
    return finish("cycles", found, f"none among {len(imports)} modules and {edges} imports")


if __name__ == "__main__":
    sys.exit(main())
