"""What expressions in Prometheus' language choose and yield, and what DAC's processes export."""

import importlib
import re
from collections.abc import Iterator
from typing import Any

import promql_parser
from prometheus_client import Counter, Gauge

import mesh.metrics_page  # noqa: F401  (the names that it adds belong to what is exported)
from mesh import telemetry
from mesh.boards.alerts import WINDOWS, error_ratio
from mesh.timings import Timings
from tests.deploy.envoy_names import ENVOY_NAMES

SCRAPED = frozenset({"job", "instance"})
"""What Prometheus itself puts on every series."""
VARIABLES = {"$__rate_interval": "5m", "$__range": "6h", "$top": "10"}
SETS = ("and", "unless")


def exported() -> dict[str, frozenset[str]]:
    """Every series a DAC process can show, with its labels."""
    found: dict[str, frozenset[str]] = {}
    for metric in vars(telemetry).values():
        if isinstance(metric, Counter | Gauge):
            name = metric._name + ("_total" if isinstance(metric, Counter) else "")
            found[name] = frozenset(metric._labelnames)
        elif isinstance(metric, Timings):
            labels = frozenset(metric.label_names)
            found |= {f"{metric.name}_bucket": labels | {"le"}}
            found |= {f"{metric.name}_{suffix}": labels for suffix in ("sum", "count")}
        elif isinstance(metric, telemetry.Sampled):
            found[metric.name] = frozenset(metric.labels)
    # It registers the aliases.
    importlib.import_module("mesh.metrics_page")
    # The other collectors show their labels in their samples: the aliases have none before the first chat.
    telemetry.observe_chat("none", "OUTCOME_OK", [])
    for family in telemetry.REGISTRY.collect():
        for sample in family.samples:
            found.setdefault(sample.name, frozenset(sample.labels))
    return found


def known() -> dict[str, frozenset[str]]:
    """What expressions may use: DAC's own, Envoy's, and what the rules record."""
    envoy = {name: frozenset(labels) for name, labels in ENVOY_NAMES.items()}
    return exported() | envoy | {error_ratio(window): frozenset() for window in WINDOWS}


def parse(expression: str) -> Any:
    """The tree of an expression, Grafana's variables filled in. Raises ValueError."""
    for variable, value in VARIABLES.items():
        expression = expression.replace(variable, value)
    return promql_parser.parse(expression)


def _below(node: Any) -> list[Any]:
    if isinstance(node, promql_parser.Call):
        return list(node.args)
    if isinstance(node, promql_parser.MatrixSelector):
        return [node.vector_selector]
    if isinstance(node, promql_parser.BinaryExpr):
        return [node.lhs, node.rhs]
    inner = getattr(node, "expr", None)
    return [] if inner is None else [inner]


def selectors(node: Any) -> Iterator[Any]:
    """Every selector of series in a tree."""
    if isinstance(node, promql_parser.VectorSelector):
        yield node
    for inner in _below(node):
        yield from selectors(inner)


def yields(node: Any) -> frozenset[str]:
    """The labels that an expression's result can have. Raises AssertionError for a label that is not there."""
    if isinstance(node, promql_parser.VectorSelector):
        assert node.name in known(), f"no metric is called {node.name}"
        labels = known()[node.name] | SCRAPED
        for matcher in node.matchers.matchers:
            assert matcher.name in labels, f"{node.name} has no label {matcher.name}"
        return labels
    inner = [yields(one) for one in _below(node)]
    everything = frozenset().union(*inner)
    if isinstance(node, promql_parser.AggregateExpr):
        if node.modifier is None:
            return everything if str(node.op) in ("topk", "bottomk") else frozenset()
        by = frozenset(re.fullmatch(r"by \((.*)\)", str(node.modifier))[1].split(", "))
        assert by <= everything, f"{node}: {sorted(by - everything)} is no label there"
        return by
    if isinstance(node, promql_parser.BinaryExpr):
        left, right = inner
        matched = re.match(r"on \(([^)]*)\)", str(node.modifier or ""))
        if matched:
            wanted = set(matched[1].split(", "))
            assert wanted <= left and wanted <= right, f"{node}: not both sides have {sorted(wanted)}"
        elif left and right and str(node.op) not in ("or",):
            assert left == right, f"{node}: {sorted(left)} and {sorted(right)} never match"
        return left if str(node.op) in SETS else left | right
    if isinstance(node, promql_parser.Call) and "histogram_quantile" in str(node):
        assert "le" in everything, f"{node}: the buckets' le was summed away"
        return everything - {"le"}
    return everything


def is_there(selector: Any, samples: list[tuple[str, dict[str, str]]]) -> bool:
    """Whether a scrape holds a series that the selector chooses; variables choose all."""
    matchers = [one for one in selector.matchers.matchers if not one.value.startswith("$")]
    return any(
        name == selector.name and all(_fits(one, labels.get(one.name, "")) for one in matchers)
        for name, labels in samples
    )


def _fits(matcher: Any, value: str) -> bool:
    op = str(matcher.op)
    if "Re" in op:
        return (re.fullmatch(matcher.value, value) is not None) == ("Not" not in op)
    return (matcher.value == value) == ("Not" not in op)
