"""The edge's routes: gRPC to the gateway's gRPC port, everything else to its HTTP port, and what may be tried again."""

import dataclasses

from mesh.envoy.api import HttpForm
from mesh.envoy.document import Document, extension, seconds
from mesh.envoy.filters import limit_descriptors, no_body_limit, off, transcoded

GATEWAY_HTTP, GATEWAY_GRPC, CANARY = "gateway_http", "gateway_grpc", "_canary"
IDLE_S = 300.0
"""How long a stream may be silent: reasoning models think for minutes before the first word."""
GRACE_S = 5.0
"""What Envoy adds at most to the gateway's own limit, so that the gateway's error arrives first."""
BEFORE_THE_FIRST_BYTE = "connect-failure,refused-stream,reset-before-request"
"""Failures after which the gateway cannot have begun: only then a request is sent a second time.

Not gRPC's UNAVAILABLE: the gateway says it too when a provider has failed, after all that could be tried was tried."""


@dataclasses.dataclass(frozen=True)
class RouteOptions:
    """What the routes depend on."""

    request_timeout_s: float
    grpc: bool
    limited: bool
    """Whether there is a local rate limit."""
    rate_limit_service: bool
    canary_weight: int
    """Percent of the requests; 0 = there is no canary."""
    max_body_bytes: int
    transcode: bool
    forms: tuple[HttpForm, ...]


def retry_policy() -> Document:
    """Another replica, at most twice, and never after the first byte of an answer."""
    return {
        "retry_on": BEFORE_THE_FIRST_BYTE,
        "num_retries": 2,
        "retry_back_off": {"base_interval": "0.05s", "max_interval": "1s"},
        "retry_host_predicate": [
            extension(
                "envoy.retry_host_predicates.previous_hosts",
                "extensions.retry.host.previous_hosts.v3.PreviousHostsPredicate",
            )
        ],
        # A dead member has the least requests, so that it is drawn again and again.
        "host_selection_retry_max_attempts": 32,
    }


def _target(cluster: str, canary_weight: int) -> Document:
    if not canary_weight:
        return {"cluster": cluster}
    weighted = [
        {"name": cluster, "weight": 100 - canary_weight},
        {"name": cluster + CANARY, "weight": canary_weight},
    ]
    return {"weighted_clusters": {"clusters": weighted}}


def _action(cluster: str, options: RouteOptions, *, most_s: float, idle_s: float) -> Document:
    return {
        **_target(cluster, options.canary_weight),
        "timeout": "0s",
        "idle_timeout": seconds(idle_s),
        "max_stream_duration": {
            "max_stream_duration": seconds(most_s),
            **({"grpc_timeout_header_max": seconds(most_s)} if cluster == GATEWAY_GRPC else {}),
        },
        "retry_policy": retry_policy(),
        **({"rate_limits": limit_descriptors()} if options.rate_limit_service else {}),
    }


def routes(options: RouteOptions) -> list[Document]:
    """All of them; the first that matches is taken."""
    untranscoded = off("grpc_json_transcoder") if options.transcode else {}
    most_s = options.request_timeout_s + min(GRACE_S, options.request_timeout_s / 10)
    unlimited = {**(off("local_ratelimit") if options.limited else {}), **untranscoded}
    probe = {"cluster": GATEWAY_HTTP, "timeout": "5s"}
    found: list[Document] = [
        {"match": {"path": path}, "route": probe, **({"typed_per_filter_config": unlimited} if unlimited else {})}
        for path in ("/live", "/ready")
    ]
    if options.grpc:
        found.append(
            {
                "match": {"prefix": "/", "grpc": {}},
                "route": _action(GATEWAY_GRPC, options, most_s=most_s, idle_s=IDLE_S),
                "typed_per_filter_config": no_body_limit() | untranscoded,
            }
        )
    for template in sorted({form.regex for form in options.forms if form.streams}):
        found.append(
            {
                "match": {"safe_regex": {"regex": template}},
                "route": _action(GATEWAY_HTTP, options, most_s=0, idle_s=0),
                **({"typed_per_filter_config": untranscoded} if untranscoded else {}),
            }
        )
    if options.transcode:
        for template in sorted({form.regex for form in transcoded(options.forms)}):
            found.append(
                {
                    "match": {"safe_regex": {"regex": template}},
                    "route": _action(GATEWAY_HTTP, options, most_s=most_s, idle_s=IDLE_S),
                }
            )
    found.append(
        {
            "match": {"prefix": "/"},
            "route": _action(GATEWAY_HTTP, options, most_s=most_s, idle_s=IDLE_S),
            **({"typed_per_filter_config": untranscoded} if untranscoded else {}),
        }
    )
    return found


def route_config(options: RouteOptions) -> Document:
    """The edge's one virtual host. A body is kept whole for a second try."""
    host = {
        "name": "dac",
        "domains": ["*"],
        "request_body_buffer_limit": options.max_body_bytes,
        "routes": routes(options),
    }
    return {"name": "edge", "virtual_hosts": [host]}
