"""The board Overview: how many chats, how many fail, how long they take, what they cost; and the processes below."""

from typing import Any

from mesh.boards.panels import board, figure, graph
from mesh.boards.promql import (
    BOARD,
    CHAT_ROUTE,
    bad_chats,
    chats,
    most,
    or_zero,
    quantile,
    rate,
    series,
    share,
    total,
)

HTTP, FIRST = "http_request_duration_seconds", "gen_ai_server_time_to_first_token_seconds"
WINDOW = "$__rate_interval"


def overview() -> dict[str, Any]:
    """The whole board."""
    return board(
        "dac-overview",
        "DAC / Overview",
        "Rate, errors and duration of chats, what they use, and the processes that serve them.",
        [
            ("", 5, _figures()),
            ("Chats", 8, [_rate(), _errors(), _failures()]),
            ("Duration", 8, [_durations(), _first_token(), _streams()]),
            ("Use", 8, [_tokens(), _cost(), _cache()]),
            ("Between the services", 8, [_rpc_time(), _rpc_errors(), _pending()]),
            ("Audit log", 8, [_witnesses(), _witness_age()]),
            ("Processes", 8, [_cpu(), _memory(), _pool(), _versions()]),
        ],
    )


def _figures() -> list[dict[str, Any]]:
    hits = total(rate("cache_operations_total", *BOARD, 'verdict="hit"'))
    return [
        figure("Chats", "Chats per second, all outcomes.", "reqps", chats(WINDOW, *BOARD)),
        figure(
            "Failing",
            "Share of chats that failed through no fault of their callers: 5xx and streams cut short.",
            "percentunit",
            share(bad_chats(WINDOW, *BOARD), chats(WINDOW, *BOARD)),
            bad_from=[(0.005, "orange"), (0.05, "red")],
        ),
        figure("p95 duration", "95 of 100 chats are over by then.", "s", quantile(0.95, HTTP, *BOARD, CHAT_ROUTE)),
        figure(
            "p95 first token", "95 of 100 chats have their first token by then.", "s", quantile(0.95, FIRST, *BOARD)
        ),
        figure("Streams", "Streams being sent right now.", "short", total(series("active_streams_current", *BOARD))),
        figure(
            "Cost per hour",
            "What is charged, at the present rate.",
            "currencyUSD",
            total(rate("revenue_total_usd", *BOARD)) + " * 3600",
            decimals=4,
        ),
        figure("Tokens", "Tokens read and written per second.", "short", total(rate("chat_tokens_total", *BOARD))),
        figure(
            "Cache hits",
            "Share of look-ups that the response cache answered.",
            "percentunit",
            share(or_zero(hits), total(rate("cache_operations_total", *BOARD))),
        ),
    ]


def _rate() -> dict[str, Any]:
    return graph(
        "Chats by outcome",
        "ok; client_gone: the caller left; refused: before any provider was asked; failed: after that.",
        "reqps",
        (total(rate("chat_completions_total", *BOARD), "outcome"), "{{outcome}}"),
        stacked=True,
    )


def _errors() -> dict[str, Any]:
    return graph(
        "Failures told to callers",
        "By reason, all paths. docs/gateway.md tells what each reason means.",
        "reqps",
        (total(rate("errors_total", *BOARD), "reason"), "{{reason}}"),
        stacked=True,
    )


def _failures() -> dict[str, Any]:
    return graph(
        "Chats without a good answer",
        "refused: before a provider was asked; failed: before the caller had anything; cut: in the middle of a stream.",
        "reqps",
        (total(rate("chat_failures_total", *BOARD), "stage", "reason"), "{{stage}}: {{reason}}"),
        stacked=True,
    )


def _durations() -> dict[str, Any]:
    return graph(
        "Duration of chats",
        "Until the last byte; streams count whole.",
        "s",
        *((quantile(which, HTTP, *BOARD, CHAT_ROUTE), f"p{which * 100:g}") for which in (0.5, 0.95, 0.99)),
    )


def _first_token() -> dict[str, Any]:
    return graph(
        "Time to first token",
        "From the request's arrival to the first bytes of the answer.",
        "s",
        *((quantile(which, FIRST, *BOARD), f"p{which * 100:g}") for which in (0.5, 0.95, 0.99)),
    )


def _streams() -> dict[str, Any]:
    return graph(
        "Streams",
        "Being sent, by process.",
        "short",
        (total(series("active_streams_current", *BOARD), "instance"), "{{instance}}"),
    )


def _tokens() -> dict[str, Any]:
    return graph(
        "Tokens per second",
        "Read by and written by providers.",
        "short",
        (total(rate("chat_tokens_total", *BOARD), "kind"), "{{kind}}"),
    )


def _cost() -> dict[str, Any]:
    return graph(
        "Cost per hour by model",
        "At the rate of the moment.",
        "currencyUSD",
        (total(rate("revenue_total_usd", *BOARD), "model") + " * 3600", "{{model}}"),
        stacked=True,
    )


def _cache() -> dict[str, Any]:
    return graph(
        "Response cache and threads",
        "Look-ups of the cache by verdict, chats that shared another one's call, and threads opened.",
        "ops",
        (total(rate("cache_operations_total", *BOARD), "verdict"), "cache {{verdict}}"),
        (total(rate("coalesced_requests_total", *BOARD, 'part="followed"')), "coalesced"),
        (total(rate("conversations_total", *BOARD)), "threads opened"),
    )


def _rpc_time() -> dict[str, Any]:
    return graph(
        "p95 of calls between services",
        "The methods a chat passes. Generate lasts as long as the answer, so it is left out.",
        "s",
        (
            quantile(
                0.95,
                "rpc_server_call_duration_seconds",
                *BOARD,
                'rpc_method=~".*/(Route|Reserve|Commit|OpenTurn|AppendMessages|Lookup|Store)"',
                by=("rpc_method",),
            ),
            "{{rpc_method}}",
        ),
    )


def _rpc_errors() -> dict[str, Any]:
    return graph(
        "Failed calls between services",
        "By method and gRPC status.",
        "ops",
        (
            total(
                rate("rpc_server_call_duration_seconds_count", *BOARD, 'rpc_status_code!="OK"'),
                "rpc_method",
                "rpc_status_code",
            ),
            "{{rpc_method}} {{rpc_status_code}}",
        ),
    )


def _pending() -> dict[str, Any]:
    return graph(
        "Waiting for the ledger",
        "Records that gateways have not stored yet, operations queued at budget's writer, and records audit has not "
        "read yet. All of them should stay near 0.",
        "short",
        (total(series("settlements_pending_current", *BOARD)), "records at gateways"),
        (total(series("budget_queue_current", *BOARD)), "operations at budget"),
        (most(series("budget_records_unread", *BOARD), "consumer"), "unread by {{consumer}}"),
    )


def _witnesses() -> dict[str, Any]:
    return graph(
        "Checkpoints at witnesses",
        "What came of asking. set_back, forked: the witness knows another past of the log.",
        "ops",
        (total(rate("audit_witness_total", *BOARD), "witness", "outcome"), "{{witness}} {{outcome}}"),
    )


def _witness_age() -> dict[str, Any]:
    return graph(
        "Not cosigned since",
        "What the audit log held so long ago is cosigned by the witness. A log that does not grow does not age.",
        "s",
        (most(series("audit_witness_age_seconds", *BOARD), "witness"), "{{witness}}"),
    )


def _cpu() -> dict[str, Any]:
    return graph(
        "Processor",
        "Cores used, by process; one process uses little more than one.",
        "short",
        (total(rate("process_cpu_seconds_total", *BOARD), "instance"), "{{instance}}"),
    )


def _memory() -> dict[str, Any]:
    return graph(
        "Memory",
        "Resident, by process.",
        "bytes",
        (total(series("process_resident_memory_bytes", *BOARD), "instance"), "{{instance}}"),
    )


def _pool() -> dict[str, Any]:
    return graph(
        "Connections to PostgreSQL",
        "By service. Busy ones at the top of the pool's size (mesh.database pool settings) mean that calls wait.",
        "short",
        (total(series("postgres_pool_connections", *BOARD), "service", "state"), "{{service}} {{state}}"),
    )


def _versions() -> dict[str, Any]:
    return graph(
        "Versions and restarts",
        "Processes by version, and how many began within the last quarter of an hour.",
        "short",
        (f"count by (version) ({series('dac_build_info', *BOARD)})", "{{version}}"),
        (
            f"count(time() - {series('process_start_time_seconds', *BOARD)} < 900) or vector(0)",
            "began lately",
        ),
        stacked=False,
    )
