"""The sidecar: mutual TLS between pods. DAC speaks plain gRPC to it on loopback and knows of no certificate."""

import dataclasses
from collections.abc import Mapping

from mesh.config import ConfigError
from mesh.envoy import observing
from mesh.envoy.bootstrap import HCM, admin_cluster, bootstrap, probe_listener, router
from mesh.envoy.clusters import cluster, grpc_health
from mesh.envoy.document import Document, Endpoint, typed
from mesh.envoy.edge import ADMIN, CONNECTION_BUFFER_BYTES, PROBES
from mesh.envoy.groups import EGRESS_PORT, MESH_PORT, MUTUAL_PORT, Names, callers, egress, group_of
from mesh.envoy.routes import retry_policy
from mesh.envoy.sds import SDS_DIR, mutual_client_tls, mutual_server_tls

LOCAL = "local"
LISTEN, MESH = Endpoint("0.0.0.0", MUTUAL_PORT), Endpoint("127.0.0.1", MESH_PORT)
DEFAULT_NAMES = Names()


@dataclasses.dataclass(frozen=True)
class SidecarOptions:
    """Everything that may differ from one sidecar to another."""

    group: str
    topology: str = "edge"
    names: Names = DEFAULT_NAMES
    sds_dir: str = SDS_DIR
    listen: Endpoint = LISTEN
    mesh: Endpoint = MESH
    """Where this pod's DAC serves its targets (DAC_MESH_LISTEN)."""
    egress_port: int = EGRESS_PORT
    """The first port on which calls to other pods are taken."""
    peers: Mapping[str, Endpoint] = dataclasses.field(default_factory=dict)
    """Target → address, where it is not the headless name."""
    admin: Endpoint = ADMIN
    probes: Endpoint | None = PROBES
    otlp: Endpoint | None = None
    trace_percent: float = 100.0
    heap_bytes: int | str = 128 * 1024 * 1024
    max_connections: int = 10_000
    health_interval_s: float = 5.0


def sidecar(options: SidecarOptions) -> Document:
    """The whole configuration. A pod that nobody calls has no port for others."""
    listeners, clusters = [], []
    allowed = [options.names.spiffe_id(group) for group in callers(options.topology, options.group)]
    if allowed:
        tls = mutual_server_tls(options.sds_dir, allowed)
        listeners.append(_listener(options, "ingress", options.listen, LOCAL, tls=tls))
        clusters.append(
            cluster(
                LOCAL, [options.mesh], http2=True, health=grpc_health(""), health_interval_s=options.health_interval_s
            )
        )
    for target, port in egress(options.topology, options.group):
        at = Endpoint("127.0.0.1", port - EGRESS_PORT + options.egress_port)
        listeners.append(_listener(options, f"egress_{target}", at, target))
        clusters.append(_peer(options, target))
    if options.otlp is not None:
        clusters.append(cluster(observing.OTLP_CLUSTER, [options.otlp], http2=True))
    if options.probes is not None:
        healthy = [LOCAL] if allowed else []
        listeners.append(probe_listener(options.probes, healthy_clusters=healthy))
        clusters.append(admin_cluster(options.admin))
    return bootstrap(
        f"dac-sidecar-{options.group}",
        admin=options.admin,
        heap_bytes=options.heap_bytes,
        max_connections=options.max_connections,
        listeners=listeners,
        clusters=clusters,
    )


def mesh_addresses(options: SidecarOptions) -> dict[str, str]:
    """What this pod's DAC needs as mesh.addresses: its calls to other pods go to the sidecar."""
    first = options.egress_port - EGRESS_PORT
    return {target: f"127.0.0.1:{port + first}" for target, port in egress(options.topology, options.group)}


def check_peers(topology: str, group: str, peers: Mapping[str, str]) -> None:
    """Raises ConfigError for an address of a target that this group does not call."""
    called = [target for target, _ in egress(topology, group)]
    for name in peers:
        if name not in called:
            raise ConfigError(
                f'--peer: "{name}" is not called from here: TARGET=HOST:PORT with one of {", ".join(called)}'
            )


def _peer(options: SidecarOptions, target: str) -> Document:
    host = options.names.host(target)
    peer = options.names.spiffe_id(group_of(options.topology, target))
    return cluster(
        target,
        [options.peers.get(target) or Endpoint(host, MUTUAL_PORT)],
        http2=True,
        health=grpc_health(target),
        health_interval_s=options.health_interval_s,
        tls=mutual_client_tls(options.sds_dir, peer, sni=host),
        pings=True,
    )


def _listener(options: SidecarOptions, name: str, at: Endpoint, to: str, *, tls: Document | None = None) -> Document:
    """Takes gRPC at a port and sends it to a cluster; deadlines are the callers' own."""
    route = {"cluster": to, "timeout": "0s", "idle_timeout": "0s", "retry_policy": retry_policy()}
    config = {
        "name": name,
        "virtual_hosts": [{"name": name, "domains": ["*"], "routes": [{"match": {"prefix": "/"}, "route": route}]}],
    }
    incoming = tls is not None
    manager = typed(
        HCM,
        stat_prefix=name,
        codec_type="HTTP2",
        # Who called is told by Envoy alone: what a caller claims in this header is thrown away.
        forward_client_cert_details="SANITIZE_SET" if incoming else "SANITIZE",
        **({"set_current_client_cert_details": {"uri": True}} if incoming else {}),
        generate_request_id=False,
        server_header_transformation="PASS_THROUGH",
        stream_idle_timeout="0s",
        request_headers_timeout="10s",
        drain_timeout="30s",
        delayed_close_timeout="1s",
        common_http_protocol_options={"max_headers_count": 100},
        http2_protocol_options={
            "max_concurrent_streams": 1024,
            "initial_stream_window_size": 1048576,
            "initial_connection_window_size": 8388608,
            "connection_keepalive": {"interval": "30s", "timeout": "10s"},
        },
        **({"access_log": [observing.sidecar_access_log()]} if incoming else {}),
        **(
            {"tracing": observing.tracing(f"dac-sidecar-{options.group}", options.trace_percent)}
            if options.otlp
            else {}
        ),
        route_config=config,
        http_filters=[router()],
    )
    chain: Document = {}
    if tls is not None:
        chain = {"transport_socket": tls, "transport_socket_connect_timeout": "10s"}
    chain["filters"] = [{"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}]
    return {
        "name": name,
        "address": at.address(),
        "per_connection_buffer_limit_bytes": CONNECTION_BUFFER_BYTES,
        "filter_chains": [chain],
    }
