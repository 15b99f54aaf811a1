"""Histograms of seconds that cost the request path next to nothing.

The client library's own are safe between threads and take several times as long; what DAC times, it times in the
thread of its event loop, several times a request.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Sequence

from prometheus_client import CollectorRegistry
from prometheus_client.core import HistogramMetricFamily, Metric
from prometheus_client.registry import Collector


class Timing:
    """What was observed under one set of label values. Only for the event loop's thread."""

    __slots__ = ("_bounds", "counts", "sum_s")

    def __init__(self, bounds_s: Sequence[float]) -> None:
        self._bounds = bounds_s
        self.counts = [0] * (len(bounds_s) + 1)
        """How many fell at or below each bound and above the one before; the last: above all of them."""
        self.sum_s = 0.0

    def observe(self, seconds: float) -> None:
        """Counts one."""
        self.sum_s += seconds
        self.counts[bisect_left(self._bounds, seconds)] += 1


class Timings(Collector):
    """A histogram by label values, with the face of the client library's that DAC uses."""

    def __init__(
        self,
        name: str,
        documentation: str,
        labels: Sequence[str],
        *,
        registry: CollectorRegistry,
        buckets: Sequence[float],
    ) -> None:
        self.name, self._documentation, self.label_names = name, documentation, tuple(labels)
        self._bounds = tuple(buckets)
        self._children: dict[tuple[str, ...], Timing] = {}
        registry.register(self)

    def labels(self, *values: str) -> Timing:
        """The one with these label values; made when it is asked for first."""
        child = self._children.get(values)
        if child is None:
            if len(values) != len(self.label_names):
                raise ValueError(f"{self.name} has the labels {self.label_names}, not {values}")
            child = self._children[values] = Timing(self._bounds)
        return child

    def collect(self) -> Iterator[Metric]:
        """All of them, as Prometheus reads them: each bucket holds those below it too."""
        family = HistogramMetricFamily(self.name, self._documentation, labels=self.label_names)
        bounds = [*map(repr, map(float, self._bounds)), "+Inf"]
        for values, child in list(self._children.items()):
            total, buckets = 0, []
            for bound, count in zip(bounds, child.counts, strict=True):
                total += count
                buckets.append((bound, float(total)))
            family.add_metric(values, buckets, child.sum_s)
        yield family
