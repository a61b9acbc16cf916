"""What the service counts of itself, and how it tells Prometheus. Each process of a server counts for itself.

Counting is on the path of every request, so it is a few additions in one thread; Prometheus' own objects are only made
when somebody asks.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterator, Mapping
from itertools import accumulate

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

__all__ = ["Meter"]

_BUCKETS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)
_PREFIX = "horde_model_reference_"


class Meter(Collector):
    """Requests by route and status. `gauges` are asked for further values, each by name, when it tells."""

    def __init__(self, gauges: Callable[[], Mapping[str, float]]) -> None:
        self._gauges = gauges
        self._rows: dict[tuple[str, int], list[float]] = {}

    def count(self, route: str, status: int, seconds: float) -> None:
        """One request. In the loop only."""
        row = self._rows.get((route, status))
        if row is None:
            row = self._rows[route, status] = [0.0] * (len(_BUCKETS) + 2)
        row[bisect_left(_BUCKETS, seconds)] += 1
        row[-1] += seconds

    def told(self) -> bytes:
        """All of it in Prometheus' text format."""
        registry = CollectorRegistry()
        registry.register(self)
        return generate_latest(registry)

    def collect(self) -> Iterator[Metric]:
        requests = CounterMetricFamily(f"{_PREFIX}requests", "Requests answered.", labels=("route", "status"))
        latency = HistogramMetricFamily(f"{_PREFIX}latency_seconds", "From request to answer.", labels=("route",))
        unmodified = CounterMetricFamily(f"{_PREFIX}unmodified", "Answers that sent no body, of those with a tag.")
        routes: dict[str, list[float]] = {}
        for (route, status), row in self._rows.items():
            requests.add_metric((route, str(status)), sum(row[:-1]))
            routes[route] = [a + b for a, b in zip(routes.get(route, [0.0] * len(row)), row, strict=True)]
        unmodified.add_metric((), sum(sum(row[:-1]) for (_, status), row in self._rows.items() if status == 304))
        for route, row in routes.items():
            edges = zip((*map(str, _BUCKETS), "+Inf"), accumulate(row[:-1]), strict=True)
            latency.add_metric((route,), list(edges), row[-1])
        yield from (requests, unmodified, latency)
        for name, value in self._gauges().items():
            yield GaugeMetricFamily(_PREFIX + name, name.replace("_", " ").capitalize() + ".", value)
