"""The edge: Envoy in front of the gateway, for callers from outside."""

import dataclasses
import re
from collections.abc import Sequence

from mesh.config import ConfigError
from mesh.envoy import filters, observing
from mesh.envoy.api import http_forms
from mesh.envoy.bootstrap import HCM, admin_cluster, bootstrap, probe_listener
from mesh.envoy.clusters import cluster, http_health
from mesh.envoy.document import Document, Endpoint, extension, typed
from mesh.envoy.failures import local_replies
from mesh.envoy.routes import CANARY, GATEWAY_GRPC, GATEWAY_HTTP, IDLE_S, RouteOptions, route_config
from mesh.envoy.sds import SDS_DIR, server_tls

ADMIN_PORT, PROBE_PORT, TLS_PORT, PLAIN_PORT = 9901, 9902, 8443, 8080
LISTEN, ADMIN = Endpoint("0.0.0.0", TLS_PORT), Endpoint("127.0.0.1", ADMIN_PORT)
PROBES = Endpoint("0.0.0.0", PROBE_PORT)
CONNECTION_BUFFER_BYTES = 1024 * 1024
"""How much of an answer waits for a slow reader before the gateway is slowed down; bodies have a limit of their own."""
INTERNAL_HEADERS = ("x-dac-", "x-envoy-")
"""Beginnings of headers that only DAC and Envoy may set."""
CALLERS_HEADERS = ("x-dac-project", "x-dac-tags", "x-dac-team")
"""Those of them that are for callers."""


@dataclasses.dataclass(frozen=True)
class EdgeOptions:
    """Everything that may differ from one edge to another."""

    gateways: tuple[Endpoint, ...]
    """Where the gateway serves HTTP."""
    grpc_gateways: tuple[Endpoint, ...]
    """Where the gateway serves gRPC; empty = it does not."""
    max_body_bytes: int
    """gateway.max_body_bytes: the one number for every hop."""
    request_timeout_s: float
    """gateway.request_timeout_s."""
    listen: Endpoint = LISTEN
    tls: bool = True
    sds_dir: str = SDS_DIR
    admin: Endpoint = ADMIN
    probes: Endpoint | None = PROBES
    local_rps: int = 2000
    """The flood guard of one Envoy; 0 = none."""
    rate_limit_service: Endpoint | None = None
    otlp: Endpoint | None = None
    trace_percent: float = 100.0
    canary: Endpoint | None = None
    canary_grpc: Endpoint | None = None
    canary_weight: int = 0
    transcode: bool = False
    heap_bytes: int | str = 512 * 1024 * 1024
    """What the overload manager takes for the whole memory; in Helm's files an expression."""
    max_connections: int = 20_000
    health_interval_s: float = 5.0
    ejection_s: float = 30.0
    trusted_hops: int = 0
    """Proxies in front of Envoy whose x-forwarded-for is believed."""

    def __post_init__(self) -> None:
        """Refuses what cannot work. Raises ConfigError."""
        if not 0 <= self.canary_weight <= 100:
            raise ConfigError(f"--canary-weight: {self.canary_weight} is no percentage: write 0 to 100")
        if self.canary_weight and self.canary is None:
            raise ConfigError("--canary-weight needs --canary HOST:PORT: where is the canary?")
        if self.canary is not None and bool(self.canary_grpc) != bool(self.grpc_gateways):
            raise ConfigError("--canary: the canary serves gRPC exactly when the gateway does")
        if self.transcode and not self.grpc_gateways:
            raise ConfigError("--transcode needs the gateway's gRPC port: set DAC_GRPC_PORT to something but 0")
        if not 0 <= self.trace_percent <= 100:
            raise ConfigError(f"--trace-percent: {self.trace_percent:g} is no percentage: write 0 to 100")
        if isinstance(self.heap_bytes, int) and self.heap_bytes < 64 * 1024 * 1024:
            raise ConfigError(f"--heap-bytes: {self.heap_bytes} is too little: Envoy needs at least 67108864 (64 MiB)")

    @property
    def weight(self) -> int:
        """The canary's share."""
        return self.canary_weight if self.canary is not None else 0


def edge(options: EdgeOptions) -> Document:
    """The whole configuration."""
    listeners = [listener(options)]
    if options.probes is not None:
        listeners.append(probe_listener(options.probes, healthy_clusters=[GATEWAY_HTTP]))
    return bootstrap(
        "dac-edge",
        admin=options.admin,
        heap_bytes=options.heap_bytes,
        max_connections=options.max_connections,
        listeners=listeners,
        clusters=clusters(options),
    )


def listener(options: EdgeOptions) -> Document:
    """The port callers come to."""
    network = {"name": "envoy.filters.network.http_connection_manager", "typed_config": manager(options)}
    chain: Document = {"filters": [network]}
    made: Document = {
        "name": "edge",
        "address": options.listen.address(),
        "per_connection_buffer_limit_bytes": CONNECTION_BUFFER_BYTES,
    }
    if options.tls:
        made["listener_filters"] = [
            extension(
                "envoy.filters.listener.tls_inspector", "extensions.filters.listener.tls_inspector.v3.TlsInspector"
            )
        ]
        chain["transport_socket"] = server_tls(options.sds_dir)
        chain["transport_socket_connect_timeout"] = "10s"
    made["filter_chains"] = [chain]
    return made


def taken_away(prefix: str) -> Document:
    """Matches the headers that begin with `prefix`, but for those of callers."""
    kept = [name.removeprefix(prefix) for name in CALLERS_HEADERS if name.startswith(prefix)]
    return {"safe_regex": {"regex": prefix + all_but(kept)}} if kept else {"prefix": prefix}


def all_but(words: Sequence[str]) -> str:
    """A regular expression for every text but these words; RE2 has no way to say "not"."""
    firsts = sorted({word[0] for word in words if word})
    other = f"[^{''.join(map(re.escape, firsts))}].*" if firsts else ".+"
    ways = [other, *(first + all_but([word[1:] for word in words if word[:1] == first]) for first in firsts)]
    return f"(?:{'|'.join(ways)}){'' if '' in words else '?'}"


def manager(options: EdgeOptions) -> Document:
    """HTTP as callers meet it, hardened."""
    early = extension(
        "envoy.http.early_header_mutation.header_mutation",
        "extensions.http.early_header_mutation.header_mutation.v3.HeaderMutation",
        mutations=[{"remove_on_match": {"key_matcher": taken_away(prefix)}} for prefix in INTERNAL_HEADERS],
    )
    return typed(
        HCM,
        stat_prefix="edge",
        codec_type="AUTO",
        early_header_mutation_extensions=[early],
        # There is no internal_address_config: an empty one would take private addresses for Envoy's own people.
        use_remote_address=True,
        xff_num_trusted_hops=options.trusted_hops,
        normalize_path=True,
        merge_slashes=True,
        # A model's id in a path holds an escaped slash; the gateway reads it as the caller wrote it.
        path_with_escaped_slashes_action="KEEP_UNCHANGED",
        server_header_transformation="PASS_THROUGH",
        generate_request_id=True,
        preserve_external_request_id=True,
        always_set_request_id_in_response=False,
        request_id_extension={
            # Otherwise Envoy writes the trace's state into a caller's id.
            "typed_config": typed(
                "extensions.request_id.uuid.v3.UuidRequestIdConfig",
                pack_trace_reason=False,
                use_request_id_for_trace_sampling=False,
            )
        },
        stream_idle_timeout=f"{IDLE_S:g}s",
        request_timeout="60s",
        request_headers_timeout="10s",
        drain_timeout="30s",
        delayed_close_timeout="1s",
        max_request_headers_kb=60,
        common_http_protocol_options={
            "idle_timeout": "3600s",
            "max_headers_count": 100,
            "headers_with_underscores_action": "REJECT_REQUEST",
        },
        http2_protocol_options={
            "max_concurrent_streams": 100,
            "initial_stream_window_size": 65536,
            "initial_connection_window_size": 1048576,
            "connection_keepalive": {"interval": "30s", "timeout": "10s"},
        },
        local_reply_config=local_replies(options.max_body_bytes),
        access_log=[observing.edge_access_log()],
        **({"tracing": observing.tracing("dac-envoy", options.trace_percent)} if options.otlp else {}),
        route_config=route_config(_route_options(options)),
        http_filters=http_filters(options),
    )


def _route_options(options: EdgeOptions) -> RouteOptions:
    return RouteOptions(
        request_timeout_s=options.request_timeout_s,
        grpc=bool(options.grpc_gateways),
        limited=options.local_rps > 0,
        rate_limit_service=options.rate_limit_service is not None,
        canary_weight=options.weight,
        max_body_bytes=options.max_body_bytes,
        transcode=options.transcode,
        forms=http_forms(),
    )


def http_filters(options: EdgeOptions) -> list[Document]:
    """What a request goes through."""
    found = [filters.health_check(), filters.key_id()]
    if options.local_rps > 0:
        found.append(filters.local_rate_limit(options.local_rps))
    if options.rate_limit_service is not None:
        found.append(filters.global_rate_limit())
    found.append(filters.body_limit(options.max_body_bytes))
    if options.transcode:
        found.append(filters.transcoder(http_forms(), options.max_body_bytes))
    return found + filters.last()


def _gateway(name: str, endpoints: tuple[Endpoint, ...], options: EdgeOptions, *, http2: bool, ready: int) -> Document:
    # The gateway's gRPC port serves no health: its readiness is asked by HTTP for both.
    return cluster(
        name,
        endpoints,
        http2=http2,
        health=http_health("/ready"),
        health_interval_s=options.health_interval_s,
        health_port=ready if http2 else None,
        ejects=True,
        ejection_s=options.ejection_s,
    )


def clusters(options: EdgeOptions) -> list[Document]:
    """The gateway, its canary, and the servers Envoy itself asks."""
    found = [_gateway(GATEWAY_HTTP, options.gateways, options, http2=False, ready=0)]
    if options.grpc_gateways:
        ready = options.gateways[0].port
        found.append(_gateway(GATEWAY_GRPC, options.grpc_gateways, options, http2=True, ready=ready))
    if options.canary is not None and options.weight:
        found.append(_gateway(GATEWAY_HTTP + CANARY, (options.canary,), options, http2=False, ready=0))
        if options.grpc_gateways and options.canary_grpc is not None:
            port = options.canary.port
            found.append(_gateway(GATEWAY_GRPC + CANARY, (options.canary_grpc,), options, http2=True, ready=port))
    if options.rate_limit_service is not None:
        found.append(cluster(filters.RATE_LIMIT_CLUSTER, [options.rate_limit_service], http2=True))
    if options.otlp is not None:
        found.append(cluster(observing.OTLP_CLUSTER, [options.otlp], http2=True))
    if options.probes is not None:
        found.append(admin_cluster(options.admin))
    return found
