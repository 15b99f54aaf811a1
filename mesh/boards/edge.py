"""The board Edge: what comes in by Envoy, what becomes of it on the way to the gateway, and the gateway's own view."""

from typing import Any

from mesh.boards.panels import ENVOY_JOB, board, figure, graph
from mesh.boards.promql import BOARD, or_zero, quantile, rate, series, share, total

ENVOY = ('job=~"$envoy_job"',)
CALLERS = 'envoy_http_conn_manager_prefix="edge"'
"""The listener for callers; probes, the admin port and sidecars have managers of their own."""
DOWN, UP, CLASS = "envoy_http_downstream", "envoy_cluster_upstream", "envoy_response_code_class"


def edge() -> dict[str, Any]:
    """The whole board."""
    return board(
        "dac-edge",
        "DAC / Edge",
        "Envoy in front of the gateways, and the gateways' own HTTP. Durations of Envoy are in milliseconds.",
        [
            ("", 5, _figures()),
            ("From the callers", 8, [_down_rate(), _down_time(), _connections()]),
            ("To the gateways", 8, [_up_rate(), _up_time(), _retries()]),
            ("What Envoy keeps away", 8, [_limited(), _ejected(), _members()]),
            ("HTTP as the gateways see it", 8, [_routes(), _statuses(), _gateway_time()]),
        ],
        ENVOY_JOB,
    )


def _figures() -> list[dict[str, Any]]:
    bad = total(rate(f"{DOWN}_rq_xx", *ENVOY, CALLERS, f'{CLASS}="5"'))
    return [
        figure("Requests", "Answered per second.", "reqps", total(rate(f"{DOWN}_rq_xx", *ENVOY, CALLERS))),
        figure(
            "5xx",
            "Share of answers to callers.",
            "percentunit",
            share(or_zero(bad), total(rate(f"{DOWN}_rq_xx", *ENVOY, CALLERS))),
            bad_from=[(0.005, "orange"), (0.05, "red")],
        ),
        figure("Running", "Requests being answered.", "short", total(series(f"{DOWN}_rq_active", *ENVOY, CALLERS))),
        figure("Connections", "Open, from callers.", "short", total(series(f"{DOWN}_cx_active", *ENVOY, CALLERS))),
        figure("Envoys", "That are live.", "short", total(series("envoy_server_live", *ENVOY))),
        figure(
            "Youngest Envoy",
            "Since its start.",
            "s",
            f"min({series('envoy_server_uptime', *ENVOY)})",
        ),
    ]


def _down_rate() -> dict[str, Any]:
    return graph(
        "Answers to callers",
        "By class of status.",
        "reqps",
        (total(rate(f"{DOWN}_rq_xx", *ENVOY, CALLERS), CLASS), "{{" + CLASS + "}}xx"),
        stacked=True,
    )


def _down_time() -> dict[str, Any]:
    return graph(
        "Duration, callers",
        "From the first byte in to the last byte out; streams count whole.",
        "ms",
        *((quantile(which, f"{DOWN}_rq_time", *ENVOY, CALLERS), f"p{which * 100:g}") for which in (0.5, 0.95, 0.99)),
    )


def _connections() -> dict[str, Any]:
    return graph(
        "Connections",
        "Open ones, and new ones per second.",
        "short",
        (total(series(f"{DOWN}_cx_active", *ENVOY, CALLERS)), "from callers"),
        (total(rate(f"{DOWN}_cx_total", *ENVOY, CALLERS)), "new per second"),
        (total(series(f"{UP}_cx_active", *ENVOY), "envoy_cluster_name"), "to {{envoy_cluster_name}}"),
    )


def _up_rate() -> dict[str, Any]:
    return graph(
        "Answers of upstreams",
        "By cluster and class of status.",
        "reqps",
        (
            total(rate(f"{UP}_rq_xx", *ENVOY), "envoy_cluster_name", CLASS),
            "{{envoy_cluster_name}} {{" + CLASS + "}}xx",
        ),
        stacked=True,
    )


def _up_time() -> dict[str, Any]:
    return graph(
        "p95 of upstreams",
        "Until the end of the answer.",
        "ms",
        (quantile(0.95, f"{UP}_rq_time", *ENVOY, by=("envoy_cluster_name",)), "{{envoy_cluster_name}}"),
    )


def _retries() -> dict[str, Any]:
    return graph(
        "Retries and failures to connect",
        "Envoy tries again only what surely was not begun.",
        "ops",
        *(
            (total(rate(f"{UP}_{name}", *ENVOY)), words)
            for name, words in (
                ("rq_retry", "retries"),
                ("rq_retry_success", "retries that helped"),
                ("rq_timeout", "timeouts"),
                ("cx_connect_fail", "failed to connect"),
                ("rq_pending_overflow", "refused: too many waiting"),
            )
        ),
    )


def _limited() -> dict[str, Any]:
    return graph(
        "Rate-limited",
        "Answered 429 by Envoy, without reaching a gateway.",
        "reqps",
        (total(rate("envoy_http_local_rate_limit_rate_limited", *ENVOY)), "by the flood guard"),
        (total(rate("envoy_cluster_ratelimit_over_limit", *ENVOY)), "by the rate limit service"),
    )


def _ejected() -> dict[str, Any]:
    return graph(
        "Ejected upstreams",
        "Left out for a while because they failed.",
        "short",
        (
            total(series("envoy_cluster_outlier_detection_ejections_active", *ENVOY), "envoy_cluster_name"),
            "{{envoy_cluster_name}} now",
        ),
        (
            total(rate("envoy_cluster_outlier_detection_ejections_enforced_total", *ENVOY)),
            "ejections per second",
        ),
    )


def _members() -> dict[str, Any]:
    healthy, every = "envoy_cluster_membership_healthy", "envoy_cluster_membership_total"
    return graph(
        "Healthy upstreams",
        "As each Envoy sees them; the lowest figure counts.",
        "short",
        (f"min by (envoy_cluster_name) ({series(healthy, *ENVOY)})", "{{envoy_cluster_name}} healthy"),
        (f"min by (envoy_cluster_name) ({series(every, *ENVOY)})", "{{envoy_cluster_name}} all"),
    )


def _routes() -> dict[str, Any]:
    return graph(
        "Requests by route",
        "Routes are templates; what is not served is `other`.",
        "reqps",
        (total(rate("http_requests_total", *BOARD), "method", "route"), "{{method}} {{route}}"),
        stacked=True,
    )


def _statuses() -> dict[str, Any]:
    return graph(
        "Requests by status",
        "499: the caller left. 0: nothing was answered.",
        "reqps",
        (total(rate("http_requests_total", *BOARD), "status"), "{{status}}"),
        stacked=True,
    )


def _gateway_time() -> dict[str, Any]:
    return graph(
        "p95 by route",
        "Until the last byte.",
        "s",
        (quantile(0.95, "http_request_duration_seconds", *BOARD, by=("route",)), "{{route}}"),
    )
