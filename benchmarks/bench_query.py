"""What a query costs beside the list comprehension and `sorted` call that a person would write in its place.

Two questions, over as many records as the real reference has: the real ones where they are at hand (a folder of legacy
files, named by `HORDE_REAL_DATA`), else made-up ones. Both sides run in turns, and the figure is the median over the
rounds of the time of one call; building the query is part of it.

    python benchmarks/bench_query.py
"""

from __future__ import annotations

import csv
import json
import os
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

from benchmarks.rows import Row, table
from horde_model_reference.domain.records import ImageGenerationModelRecord, TextGenerationModelRecord
from horde_model_reference.query import build_image_query, build_text_query

__all__ = ["measure"]

ROUNDS = 60
CALLS = 20
IMAGES, TEXTS = 161, 719
XL = "stable_diffusion_xl"

Images: TypeAlias = dict[str, ImageGenerationModelRecord]
Texts: TypeAlias = dict[str, TextGenerationModelRecord]


def _image(name: str, baseline: str, nsfw: bool) -> ImageGenerationModelRecord:
    return ImageGenerationModelRecord(name=name, baseline=baseline, nsfw=nsfw)


def _text(name: str, billions: float) -> TextGenerationModelRecord:
    fields = {"name": name, "parameters": int(billions * 1_000_000_000)}
    return TextGenerationModelRecord.model_validate(fields)


def _real(folder: Path) -> tuple[Images, Texts]:
    names = {"stable_diffusion_xl": XL, "stable diffusion 1": "stable_diffusion_1"}
    legacy = json.loads((folder / "image" / "stable_diffusion.json").read_text("utf-8"))
    images = (_image(k, names.get(v["baseline"], v["baseline"]), v.get("nsfw", False)) for k, v in legacy.items())
    with (folder / "text" / "models.csv").open(encoding="utf-8", newline="") as file:
        texts = [_text(row["name"], float(row["parameters_bn"])) for row in csv.DictReader(file)]
    return {record.name: record for record in images}, {record.name: record for record in texts}


def _made_up() -> tuple[Images, Texts]:
    baselines = [XL, "stable_diffusion_1", "flux_1", XL, "stable_diffusion_1"]
    images = (_image(f"model {i * 37 % IMAGES}", baselines[i % 5], i % 4 == 0) for i in range(IMAGES))
    texts = (_text(f"org/model-{i * 37 % TEXTS}", i * 7919 % 80) for i in range(TEXTS))
    return {record.name: record for record in images}, {record.name: record for record in texts}


def records_at_hand() -> tuple[Images, Texts]:
    """The records to measure with."""
    folder = os.environ.get("HORDE_REAL_DATA")
    return _real(Path(folder)) if folder else _made_up()


def _in_turns(ours: Callable[[], object], floor: Callable[[], object]) -> tuple[float, float]:
    """The median time of each call in microseconds; they take turns, so that noise meets both alike."""
    calls = (ours, floor)
    rounds: tuple[list[float], list[float]] = ([], [])
    for _ in range(ROUNDS):
        for times, call in zip(rounds, calls, strict=True):
            began = time.perf_counter()
            for _ in range(CALLS):
                call()
            times.append((time.perf_counter() - began) / CALLS * 1e6)
    return statistics.median(rounds[0]), statistics.median(rounds[1])


def _image_row(images: Images) -> Row:
    def ours() -> list[ImageGenerationModelRecord]:
        return build_image_query(images).where(nsfw=False, baseline=XL).order_by("name").limit(10).to_list()

    def floor() -> list[ImageGenerationModelRecord]:
        found = [record for record in images.values() if record.nsfw == False and record.baseline == XL]  # noqa: E712
        return sorted(found, key=lambda record: record.name)[:10]

    assert ours() == floor()
    return _row("query image: safe for work, one baseline, by name, 10", len(images), _in_turns(ours, floor), 3)


def _text_row(texts: Texts) -> Row:
    def ours() -> list[TextGenerationModelRecord]:
        query = build_text_query(texts).where(nsfw=False, parameters_count__gte=7e9)
        return query.order_by("-parameters_count").limit(10).to_list()

    def floor() -> list[TextGenerationModelRecord]:
        found = [r for r in texts.values() if r.nsfw == False and r.parameters_count >= 7e9]  # noqa: E712
        return sorted(found, key=lambda record: record.parameters_count, reverse=True)[:10]

    assert ours() == floor()
    return _row("query text: safe for work, 7B and more, largest first, 10", len(texts), _in_turns(ours, floor), 2)


def measure() -> list[Row]:
    """One row a question, with the records at hand."""
    images, texts = records_at_hand()
    return [_image_row(images), _text_row(texts)]


def _row(what: str, count: int, times: tuple[float, float], limit: float) -> Row:
    return Row(f"{what} of {count}", "list comprehension + sort", times[1], times[0], limit)


if __name__ == "__main__":
    print(table(measure()))
