"""The read interface as files: what any web server or CDN can give out in its place, with no Python at all.

Names of models are never made into paths, so single models are not among them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path

from horde_model_reference.domain.categories import CANONICAL_CATEGORIES, get_all_registered_categories
from horde_model_reference.errors import ReferenceUnavailable
from horde_model_reference.files import write_atomically
from horde_model_reference.service.answers import CODINGS, IDENTITY, Body
from horde_model_reference.service.renderings import Form
from horde_model_reference.service.routes import V1_NAMES, VERSIONS
from horde_model_reference.service.serving import Serving
from horde_model_reference.settings import HordeModelReferenceSettings
from horde_model_reference.wiring import Parts

__all__ = ["write_static"]

_SUFFIXES = {"zstd": ".zst", "br": ".br", "gzip": ".gz"}


def write_static(parts: Parts, settings: HordeModelReferenceSettings, folder: Path) -> list[Path]:
    """Write what the service answers now under `folder`, each body with its compressed twins beside it.

    A file is replaced whole, the manifest last: who has read it finds nothing older. Gives what was written.
    """
    bodies = asyncio.run(_bodies(parts, settings))
    return [path for name, body in bodies.items() for path in _write(folder / "api" / name, body)]


async def _bodies(parts: Parts, settings: HordeModelReferenceSettings) -> dict[str, Body | None]:
    told: dict[str, Body | None] = {}
    with closing(Serving.over(parts, settings)) as serving:
        told["heartbeat"] = (await serving.heartbeat()).answer.body
        for name in CANONICAL_CATEGORIES:
            told[f"model_references/v2/{name}"] = (await serving.category(Form.V2, name)).answer.body
        for category in get_all_registered_categories():
            body = None  # v1 has nothing to tell of some
            with suppress(ReferenceUnavailable):
                body = (await serving.category(Form.V1, category)).answer.body
            spellings = [spelling for spelling, other in V1_NAMES.items() if other == category]
            told |= {f"model_references/v1/{each}": body for each in (category, f"{category}.json", *spellings)}
        for version in VERSIONS:
            listed = await serving.document([*version.categories()])
            told[f"model_references/{version.name}/model_categories"] = listed.answer.body
        return told | {"model_references/v2/manifest": (await serving.manifest()).answer.body}


def _write(path: Path, body: Body | None) -> Iterator[Path]:
    for coding in (*CODINGS, IDENTITY):
        file = path.with_name(path.name + _SUFFIXES.get(coding, ""))
        if body is not None and coding == body.coding(coding):
            yield write_atomically(file, body.form(coding))
        else:
            file.unlink(missing_ok=True)  # of what was there once, or was larger
