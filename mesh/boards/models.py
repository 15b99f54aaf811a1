"""The board Models: how fast models answer, how often providers fail, who steps in, which breakers are open."""

from typing import Any

from mesh.boards.panels import TOP, board, figure, graph, states, table
from mesh.boards.promql import BOARD, increase, largest, mean, most, or_zero, quantile, rate, series, share, total

FIRST, WHOLE = "gen_ai_server_time_to_first_token_seconds", "chat_duration_seconds"
FAULT = 'outcome=~"provider_.*"'
"""Attempts that ended through the provider; a refusal of the caller's request is among them."""
BREAKER_STATES = {1: ("open", "red"), 0.5: ("half-open", "orange"), 0: ("closed, with failures", "green")}


def models() -> dict[str, Any]:
    """The whole board."""
    return board(
        "dac-models",
        "DAC / Models",
        "Models and the providers behind them.",
        [
            ("", 5, _figures()),
            ("Speed", 8, [_first_token(), _duration(), _speed()]),
            ("Providers", 8, [_attempts(), _faults(), _provider_time()]),
            ("When one fails", 8, [_fallbacks(), _breakers()]),
            ("All", 9, [_table()]),
        ],
        TOP,
    )


def _figures() -> list[dict[str, Any]]:
    bad = total(rate("provider_attempts_total", *BOARD, FAULT))
    return [
        figure(
            "Models available",
            "Models of providers that are configured and enabled.",
            "short",
            most(series("router_models_available", *BOARD)),
        ),
        figure(
            "Breakers open",
            "Models at a provider that are left alone because they failed several times in a row.",
            "short",
            or_zero(f"count({most(series('router_breaker_open', *BOARD), 'model', 'provider')} == 1)"),
            bad_from=[(1, "orange"), (3, "red")],
        ),
        figure(
            "Attempts that fail",
            "Share of calls to providers that failed through the provider.",
            "percentunit",
            share(or_zero(bad), total(rate("provider_attempts_total", *BOARD))),
            bad_from=[(0.02, "orange"), (0.1, "red")],
        ),
        figure(
            "Fallbacks",
            "Share of chats that went on to another model.",
            "percentunit",
            share(or_zero(total(rate("chat_fallbacks_total", *BOARD))), total(rate("chat_completions_total", *BOARD))),
        ),
    ]


def _first_token() -> dict[str, Any]:
    return graph(
        "p95 first token by model",
        "From the request's arrival to the first bytes of the answer.",
        "s",
        (largest(quantile(0.95, FIRST, *BOARD, by=("model",))), "{{model}}"),
    )


def _duration() -> dict[str, Any]:
    return graph(
        "p95 duration by model",
        "Whole chats, by the model that answered; `none` answered from the cache or was refused.",
        "s",
        (largest(quantile(0.95, WHOLE, *BOARD, by=("model",))), "{{model}}"),
    )


def _speed() -> dict[str, Any]:
    written = total(rate("chat_tokens_total", *BOARD, 'kind="output"'), "model")
    return graph(
        "Output tokens per second of a chat",
        "Tokens written over the time that chats took, the wait for the first token included.",
        "short",
        (largest(share(written, total(rate(WHOLE + "_sum", *BOARD), "model"))), "{{model}}"),
    )


def _attempts() -> dict[str, Any]:
    return graph(
        "Attempts",
        "Calls to providers by what came of them.",
        "reqps",
        (total(rate("provider_attempts_total", *BOARD), "provider", "outcome"), "{{provider}}: {{outcome}}"),
        stacked=True,
    )


def _faults() -> dict[str, Any]:
    bad = total(rate("provider_attempts_total", *BOARD, FAULT), "provider")
    return graph(
        "Share that fails, by provider",
        "provider_failed, provider_rate_limited, provider_timeout, provider_cut, provider_busy and provider_refused.",
        "percentunit",
        (share(bad, total(rate("provider_attempts_total", *BOARD), "provider")), "{{provider}}"),
        max=1,
    )


def _provider_time() -> dict[str, Any]:
    return graph(
        "Duration of attempts, by provider",
        "Mean and p95 until the last byte.",
        "s",
        (mean("provider_attempt_duration_seconds", *BOARD, by=("provider",)), "{{provider}} mean"),
        (quantile(0.95, "provider_attempt_duration_seconds", *BOARD, by=("provider",)), "{{provider}} p95"),
    )


def _fallbacks() -> dict[str, Any]:
    return graph(
        "Fallbacks",
        "Steps to the next model, by the model that was left and why.",
        "reqps",
        (total(rate("chat_fallbacks_total", *BOARD), "model", "reason"), "{{model}}: {{reason}}"),
        (total(rate("chat_rescues_total", *BOARD), "way", "reason"), "rescued by {{way}}: {{reason}}"),
        stacked=True,
    )


def _breakers() -> dict[str, Any]:
    return states(
        "Breakers",
        "The worst state any router holds. A model without a line has not failed lately.",
        most(series("router_breaker_open", *BOARD), "model", "provider"),
        "{{model}}",
        BREAKER_STATES,
    )


def _table() -> dict[str, Any]:
    return table(
        "Models in the chosen time",
        "Chats, charge and tokens by the model that answered.",
        "model",
        ("Chats", "short", total(increase("chat_completions_total", *BOARD), "model")),
        ("Failed", "short", total(increase("chat_completions_total", *BOARD, 'outcome="failed"'), "model")),
        ("Input tokens", "short", total(increase("chat_tokens_total", *BOARD, 'kind="input"'), "model")),
        ("Output tokens", "short", total(increase("chat_tokens_total", *BOARD, 'kind="output"'), "model")),
        ("Charged", "currencyUSD", total(increase("revenue_total_usd", *BOARD), "model")),
    )
