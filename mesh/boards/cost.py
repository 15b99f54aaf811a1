"""The board Cost: what is charged, by model and organisation, for each chat, and what the month will come to."""

from typing import Any

from mesh.boards.panels import TOP, board, figure, graph, table
from mesh.boards.promql import BOARD, increase, largest, most, rate, series, share, total

REVENUE, ORG = "revenue_total_usd", "org_cost_usd_total"
MONTH_S = 30 * 86400


def cost() -> dict[str, Any]:
    """The whole board."""
    return board(
        "dac-cost",
        "DAC / Cost",
        "What was charged, in US dollars. Figures are of the chosen time unless they say otherwise.",
        [
            ("", 5, _figures()),
            ("Rate", 8, [_by_model(), _by_organisation()]),
            ("Summed up", 8, [_cumulative(), _forecast()]),
            ("For each", 9, [_models(), _organisations()]),
            ("Held and charged", 8, [_reserved(), _ledger(), _tokens()]),
        ],
        TOP,
    )


def _figures() -> list[dict[str, Any]]:
    spent, asked = total(increase(REVENUE, *BOARD)), total(increase("chat_completions_total", *BOARD))
    written = total(increase("chat_tokens_total", *BOARD, 'kind="output"'))
    return [
        figure("Charged", "In the chosen time.", "currencyUSD", spent, decimals=4),
        figure("Last 24 hours", "Up to now.", "currencyUSD", total(increase(REVENUE, *BOARD, window="1d")), decimals=4),
        figure(
            "Month, at this rate",
            "30 days at the mean rate of the last 24 hours.",
            "currencyUSD",
            total(rate(REVENUE, *BOARD, window="1d")) + f" * {MONTH_S}",
            decimals=2,
        ),
        figure(
            "Per 1,000 chats",
            "All chats, also those that cost nothing.",
            "currencyUSD",
            f"1000 * {share(spent, asked)}",
            decimals=4,
        ),
        figure(
            "Per million output tokens",
            "The whole charge over the tokens written.",
            "currencyUSD",
            f"1e6 * {share(spent, written)}",
            decimals=4,
        ),
    ]


def _by_model() -> dict[str, Any]:
    return graph(
        "Cost per hour by model",
        "At the rate of the moment.",
        "currencyUSD",
        (largest(total(rate(REVENUE, *BOARD), "model") + " * 3600"), "{{model}}"),
        stacked=True,
    )


def _by_organisation() -> dict[str, Any]:
    return graph(
        "Cost per hour by organisation",
        "The organisations that spend most. `other` holds all beyond the first 500.",
        "currencyUSD",
        (largest(total(rate(ORG, *BOARD), "org") + " * 3600"), "{{org}}"),
        stacked=True,
    )


def _cumulative() -> dict[str, Any]:
    return graph(
        "Charged in the last 30 days",
        "A sliding sum. It needs a Prometheus that keeps 30 days.",
        "currencyUSD",
        (total(increase(REVENUE, *BOARD, window="30d")), "all"),
        (largest(total(increase(REVENUE, *BOARD, window="30d"), "model")), "{{model}}"),
    )


def _forecast() -> dict[str, Any]:
    day = total(increase(REVENUE, *BOARD, window="1d"))
    return graph(
        "Forecast",
        "What 24 hours cost, and what they will cost in a week if the last three days' trend goes on.",
        "currencyUSD",
        (day, "last 24 hours"),
        (f"clamp_min(predict_linear({day}[3d:1h], 7 * 86400), 0)", "a day in a week"),
    )


def _models() -> dict[str, Any]:
    spent = total(increase(REVENUE, *BOARD), "model")
    asked = total(increase("chat_completions_total", *BOARD), "model")
    return table(
        "Models",
        "Charge, chats and charge per 1,000 chats in the chosen time.",
        "model",
        ("Charged", "currencyUSD", spent),
        ("Chats", "short", asked),
        ("Per 1,000 chats", "currencyUSD", f"1000 * {share(spent, asked)}"),
        ("Output tokens", "short", total(increase("chat_tokens_total", *BOARD, 'kind="output"'), "model")),
    )


def _organisations() -> dict[str, Any]:
    spent = total(increase(ORG, *BOARD), "org")
    asked = total(increase("org_requests_total", *BOARD), "org")
    return table(
        "Organisations",
        "The organisations that spend most, in the chosen time.",
        "org",
        ("Charged", "currencyUSD", largest(spent)),
        ("Chats", "short", largest(asked)),
        ("Per 1,000 chats", "currencyUSD", largest(f"1000 * {share(spent, asked)}")),
    )


def _reserved() -> dict[str, Any]:
    return graph(
        "Held by open reservations",
        "The worst case of the chats that are under way. It is given back or charged when they end.",
        "currencyUSD",
        (most(series("budget_reserved_usd", *BOARD)), "held"),
    )


def _ledger() -> dict[str, Any]:
    return graph(
        "Ledger",
        "Operations by what came of them. expire: a gateway never said what a chat used, so its whole reservation was "
        "charged.",
        "ops",
        (total(rate("budget_operations_total", *BOARD), "operation", "outcome"), "{{operation}}: {{outcome}}"),
    )


def _tokens() -> dict[str, Any]:
    return graph(
        "Tokens per second by model",
        "Written.",
        "short",
        (largest(total(rate("chat_tokens_total", *BOARD, 'kind="output"'), "model")), "{{model}}"),
    )
