"""The board Routing: what the router decides, why it refuses, how long it takes, which breakers are open."""

from typing import Any

from mesh.boards.models import BREAKER_STATES
from mesh.boards.panels import TOP, board, figure, graph, states
from mesh.boards.promql import BOARD, increase, largest, most, or_zero, quantile, rate, series, share, total

DECISIONS, RPC = "route_decisions_total", "rpc_server_call_duration_seconds"
ROUTE = 'rpc_method="dac.router.v1.RouterService/Route"'


def routing() -> dict[str, Any]:
    """The whole board."""
    return board(
        "dac-routing",
        "DAC / Routing",
        "Decisions of the router, trial questions by POST /v1/route included.",
        [
            ("", 5, _figures()),
            ("Decisions", 8, [_by_profile(), _by_model(), _by_basis()]),
            ("Where it does not go as decided", 8, [_fallbacks(), _refusals()]),
            ("Time", 8, [_times(), _statuses()]),
            ("Breakers", 9, [_breakers(), _available()]),
        ],
        TOP,
    )


def _figures() -> list[dict[str, Any]]:
    refused = or_zero(total(rate("route_refusals_total", *BOARD)))
    decided = total(rate(DECISIONS, *BOARD))
    named = or_zero(total(increase(DECISIONS, *BOARD, 'basis="named"')))
    return [
        figure("Decisions", "Per second.", "ops", decided),
        figure(
            "Refused",
            "Share of requests that no model could take.",
            "percentunit",
            share(refused, f"({decided} + {refused})"),
            bad_from=[(0.01, "orange"), (0.1, "red")],
        ),
        figure(
            "Named",
            "Share of decisions in the chosen time in which the request named its model.",
            "percentunit",
            share(named, total(increase(DECISIONS, *BOARD))),
        ),
        figure(
            "p99 of a decision",
            "As the router measures it.",
            "s",
            quantile(0.99, RPC, *BOARD, ROUTE),
            bad_from=[(0.01, "orange"), (0.1, "red")],
        ),
        figure(
            "Breakers open",
            "Models that are left alone right now.",
            "short",
            or_zero(f"count({most(series('router_breaker_open', *BOARD), 'model', 'provider')} == 1)"),
            bad_from=[(1, "orange"), (3, "red")],
        ),
    ]


def _by_profile() -> dict[str, Any]:
    return graph(
        "By profile",
        "Decisions by the profile in force.",
        "ops",
        (total(rate(DECISIONS, *BOARD), "profile"), "{{profile}}"),
        stacked=True,
    )


def _by_model() -> dict[str, Any]:
    return graph(
        "By model",
        "The first model of the decision.",
        "ops",
        (largest(total(rate(DECISIONS, *BOARD), "model")), "{{model}}"),
        stacked=True,
    )


def _by_basis() -> dict[str, Any]:
    return graph(
        "By what spoke for the model",
        "best: its score; named: the request; demo: nothing else is configured; least_bad: all breakers are open.",
        "ops",
        (total(rate(DECISIONS, *BOARD), "basis"), "{{basis}}"),
        stacked=True,
    )


def _fallbacks() -> dict[str, Any]:
    return graph(
        "Fallbacks",
        "Steps to the next model, by the model that was left and why.",
        "ops",
        (total(rate("chat_fallbacks_total", *BOARD), "model", "reason"), "{{model}}: {{reason}}"),
        stacked=True,
    )


def _refusals() -> dict[str, Any]:
    return graph(
        "Refusals",
        "Requests without a decision, by reason.",
        "ops",
        (total(rate("route_refusals_total", *BOARD), "reason"), "{{reason}}"),
        stacked=True,
    )


def _times() -> dict[str, Any]:
    return graph(
        "Duration of a decision",
        "As the router measures it, without the way there.",
        "s",
        *((quantile(which, RPC, *BOARD, ROUTE), f"p{which * 100:g}") for which in (0.5, 0.95, 0.99)),
    )


def _statuses() -> dict[str, Any]:
    return graph(
        "Calls of Route by status",
        "As gRPC tells them.",
        "ops",
        (total(rate(RPC + "_count", *BOARD, ROUTE), "rpc_status_code"), "{{rpc_status_code}}"),
        stacked=True,
    )


def _breakers() -> dict[str, Any]:
    return states(
        "Breakers over time",
        "The worst state any router holds. A model without a line has not failed lately.",
        most(series("router_breaker_open", *BOARD), "model", "provider"),
        "{{model}}",
        BREAKER_STATES,
    )


def _available() -> dict[str, Any]:
    return graph(
        "Models available",
        "As each router sees it; they should agree.",
        "short",
        (series("router_models_available", *BOARD), "{{instance}}"),
    )
