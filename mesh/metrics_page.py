"""GET /metrics: every metric of mesh.telemetry, and beside them the names that another product's users graph."""

from collections.abc import Iterator

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.exposition import generate_latest
from prometheus_client.registry import Collector

from mesh.telemetry import CACHE, CHATS, HTTP_SECONDS, REGISTRY

CHAT_ROUTES = frozenset({"/v1/chat/completions", "/v1/messages", "/v1/responses", "/v2/chat"})


class _Orchestra(Collector):
    """The names another product's users graph, read from the metrics of mesh.telemetry when the page is asked for."""

    def collect(self) -> Iterator[Metric]:
        """The four families."""
        requests = CounterMetricFamily("orchestra_requests_total", "Chats by outcome.", labels=["status"])
        chosen = GaugeMetricFamily("orchestra_model_selections", "Chats by model.", labels=["model"])
        by_outcome: dict[str, float] = {}
        by_model: dict[str, float] = {}
        for labels, value in _samples(CHATS, "chat_completions_total"):
            by_outcome[labels["outcome"]] = by_outcome.get(labels["outcome"], 0) + value
            by_model[labels["model"]] = by_model.get(labels["model"], 0) + value
        for outcome, value in by_outcome.items():
            requests.add_metric([outcome], value)
        for model, value in by_model.items():
            chosen.add_metric([model], value)
        yield requests
        yield chosen
        seconds = HistogramMetricFamily("orchestra_request_duration_seconds", "Chats until their last byte.")
        buckets: dict[str, float] = {}
        for labels, value in _samples(HTTP_SECONDS, "http_request_duration_seconds_bucket"):
            if labels["route"] in CHAT_ROUTES:
                buckets[labels["le"]] = buckets.get(labels["le"], 0) + value
        total = sum(
            value
            for labels, value in _samples(HTTP_SECONDS, "http_request_duration_seconds_sum")
            if labels["route"] in CHAT_ROUTES
        )
        seconds.add_metric([], list(buckets.items()) or [("+Inf", 0)], total)
        yield seconds
        verdicts = {"hit": 0.0, "miss": 0.0}
        for labels, value in _samples(CACHE, "cache_operations_total"):
            if labels["verdict"] in verdicts:
                verdicts[labels["verdict"]] += value
        asked = sum(verdicts.values())
        yield GaugeMetricFamily(
            "orchestra_cache_hit_rate",
            "Share of cache look-ups that hit, since the start.",
            value=verdicts["hit"] / asked if asked else 0,
        )


def _samples(metric: Collector, name: str) -> Iterator[tuple[dict[str, str], float]]:
    for family in metric.collect():
        for sample in family.samples:
            if sample.name == name:
                yield sample.labels, sample.value


REGISTRY.register(_Orchestra())


def metrics_page() -> bytes:
    """The metrics in Prometheus' text format."""
    return generate_latest(REGISTRY)
