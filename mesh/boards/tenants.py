"""The board Tenants: what each organisation asks, uses, pays and gets refused."""

from typing import Any

from mesh.boards.panels import TOP, bars, board, figure, graph, table
from mesh.boards.promql import BOARD, increase, largest, rate, share, total

REQUESTS, TOKENS, COST = "org_requests_total", "org_tokens_total", "org_cost_usd_total"
BAD = 'outcome="failed"'


def tenants() -> dict[str, Any]:
    """The whole board."""
    return board(
        "dac-tenants",
        "DAC / Tenants",
        "Organisations by their ids. Each process counts the first 500 it sees; all further ones are `other`.",
        [
            ("", 5, _figures()),
            ("The busiest", 9, [_asked(), _spent()]),
            ("Over time", 8, [_rate(), _cost(), _tokens()]),
            ("Trouble", 8, [_failing(), _refused()]),
            ("All", 10, [_table()]),
        ],
        TOP,
    )


def _figures() -> list[dict[str, Any]]:
    return [
        figure(
            "Organisations",
            "That asked anything in the chosen time.",
            "short",
            f"count({total(increase(REQUESTS, *BOARD), 'org')} > 0)",
        ),
        figure("Chats", "In the chosen time.", "short", total(increase(REQUESTS, *BOARD))),
        figure("Charged", "In the chosen time.", "currencyUSD", total(increase(COST, *BOARD)), decimals=4),
        figure(
            "The largest's share",
            "Of all chats in the chosen time.",
            "percentunit",
            share(f"max({total(increase(REQUESTS, *BOARD), 'org')})", total(increase(REQUESTS, *BOARD))),
        ),
    ]


def _asked() -> dict[str, Any]:
    return bars("Chats", "In the chosen time.", "short", largest(total(increase(REQUESTS, *BOARD), "org")), "{{org}}")


def _spent() -> dict[str, Any]:
    return bars(
        "Charged", "In the chosen time.", "currencyUSD", largest(total(increase(COST, *BOARD), "org")), "{{org}}"
    )


def _rate() -> dict[str, Any]:
    return graph(
        "Chats per second",
        "The busiest organisations.",
        "reqps",
        (largest(total(rate(REQUESTS, *BOARD), "org")), "{{org}}"),
        stacked=True,
    )


def _cost() -> dict[str, Any]:
    return graph(
        "Cost per hour",
        "At the rate of the moment.",
        "currencyUSD",
        (largest(total(rate(COST, *BOARD), "org") + " * 3600"), "{{org}}"),
        stacked=True,
    )


def _tokens() -> dict[str, Any]:
    return graph(
        "Tokens per second",
        "Read and written.",
        "short",
        (largest(total(rate(TOKENS, *BOARD), "org")), "{{org}}"),
        stacked=True,
    )


def _failing() -> dict[str, Any]:
    return graph(
        "Share that fails",
        "Chats that failed after a provider was asked.",
        "percentunit",
        (largest(share(total(rate(REQUESTS, *BOARD, BAD), "org"), total(rate(REQUESTS, *BOARD), "org"))), "{{org}}"),
        max=1,
    )


def _refused() -> dict[str, Any]:
    return graph(
        "Refused",
        "Before any provider was asked: budgets, allow lists, requests that are wrong.",
        "reqps",
        (largest(total(rate(REQUESTS, *BOARD, 'outcome="refused"'), "org")), "{{org}}"),
    )


def _table() -> dict[str, Any]:
    def of(name: str, *matchers: str) -> str:
        return total(increase(name, *BOARD, *matchers), "org")

    return table(
        "Organisations in the chosen time",
        "Chats by outcome, tokens and charge.",
        "org",
        ("Chats", "short", of(REQUESTS)),
        ("Good", "short", of(REQUESTS, 'outcome="ok"')),
        ("Refused", "short", of(REQUESTS, 'outcome="refused"')),
        ("Failed", "short", of(REQUESTS, BAD)),
        ("Left by the caller", "short", of(REQUESTS, 'outcome="client_gone"')),
        ("Tokens", "short", of(TOKENS)),
        ("Charged", "currencyUSD", of(COST)),
    )
