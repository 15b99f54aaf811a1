"""Clusters: who answers behind Envoy, how their health is seen, when one is left out, and how many may wait."""

from collections.abc import Sequence
from typing import Any

from mesh.envoy.document import Document, Endpoint, extension, seconds, typed

HTTP_OPTIONS = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
HTTP1_IDLE_S = 60
"""Below the 75 s after which the gateway closes an idle connection: Envoy must be the one that closes."""
GRPC_IDLE_S = 600
PEER_KEEPALIVE = {"interval": "30s", "timeout": "10s"}
"""HTTP/2 pings, only between Envoys: a gRPC server takes frequent pings on a quiet connection for an attack."""


def cluster(
    name: str,
    endpoints: Sequence[Endpoint],
    *,
    http2: bool,
    health: Document | None = None,
    health_interval_s: float = 5.0,
    health_port: int | None = None,
    tls: Document | None = None,
    ejects: bool = False,
    ejection_s: float = 30.0,
    pings: bool = False,
) -> Document:
    """A cluster of addresses: fixed ones as they are, names resolved anew every few seconds, every address a member."""
    options: dict[str, Any] = {"common_http_protocol_options": {"idle_timeout": f"{HTTP1_IDLE_S}s"}}
    protocol: Document = {"http_protocol_options": {}}
    if http2:
        http2_options: Document = {"max_concurrent_streams": 100}
        if pings:
            http2_options["connection_keepalive"] = PEER_KEEPALIVE
        options["common_http_protocol_options"] = {
            "idle_timeout": f"{GRPC_IDLE_S}s",
            # New connections find new replicas.
            "max_connection_duration": "1800s",
        }
        protocol = {"http2_protocol_options": http2_options}
    options["explicit_http_config"] = protocol
    if ejects:
        options["outlier_detection"] = {"error_matcher": sick_answer()}
    made: Document = {
        "name": name,
        **_discovery(endpoints),
        "connect_timeout": "1s",
        "lb_policy": "LEAST_REQUEST",
        "ignore_health_on_host_removal": True,
        "typed_extension_protocol_options": {HTTP_OPTIONS: typed(HTTP_OPTIONS.removeprefix("envoy."), **options)},
        "upstream_connection_options": {
            "tcp_keepalive": {"keepalive_time": 60, "keepalive_interval": 10, "keepalive_probes": 3}
        },
        "circuit_breakers": circuit_breakers(),
        # With all members sick Envoy still asks one: DAC's own error says more than Envoy's.
        "common_lb_config": {"healthy_panic_threshold": {"value": 30}},
    }
    if health is not None:
        made["health_checks"] = [{**_health_times(health_interval_s), **health}]
    if ejects:
        made["outlier_detection"] = outlier_detection(ejection_s)
    made["load_assignment"] = {
        "cluster_name": name,
        "endpoints": [{"lb_endpoints": [_member(one, health_port) for one in endpoints]}],
    }
    if tls is not None:
        made["transport_socket"] = tls
    return made


def _discovery(endpoints: Sequence[Endpoint]) -> Document:
    if all(one.is_ip for one in endpoints):
        return {"type": "STATIC"}
    return {
        "cluster_type": extension(
            "envoy.clusters.dns",
            "extensions.clusters.dns.v3.DnsCluster",
            dns_refresh_rate="5s",
            respect_dns_ttl=True,
            dns_lookup_family="V4_PREFERRED",
            all_addresses_in_single_endpoint=False,
        )
    }


def _member(endpoint: Endpoint, health_port: int | None) -> Document:
    member: Document = {"address": endpoint.address()}
    if health_port is not None:
        member["health_check_config"] = {"port_value": health_port}
    return {"endpoint": member}


def _health_times(interval_s: float) -> Document:
    """The same pace in every state: a replica that starts after Envoy is found as soon as one that fails."""
    interval = seconds(interval_s)
    return {
        "timeout": seconds(max(1.0, min(3.0, interval_s))),
        "interval": interval,
        "no_traffic_interval": interval,
        "unhealthy_interval": interval,
        "unhealthy_threshold": 2,
        "healthy_threshold": 1,
    }


def http_health(path: str) -> Document:
    """A check by HTTP/1.1, whatever protocol the cluster speaks."""
    return {"http_health_check": {"path": path, "host": "dac", "codec_client_type": "HTTP1"}}


def grpc_health(service: str) -> Document:
    """A check by gRPC's health service."""
    return {"grpc_health_check": {"service_name": service}}


def circuit_breakers() -> Document:
    """A bulkhead; retries are at most a fifth of the running requests, but a hundred may always be tried."""
    return {
        "thresholds": [
            {
                "max_connections": 4096,
                "max_pending_requests": 1024,
                "max_requests": 4096,
                "retry_budget": {"budget_percent": {"value": 20}, "min_retry_concurrency": 100},
                "track_remaining": True,
            }
        ]
    }


def outlier_detection(ejection_s: float) -> Document:
    """Five sick answers, or five connections refused or broken, in a row: out for a while, never more than half."""
    return {
        "consecutive_5xx": 5,
        "consecutive_gateway_failure": 5,
        "enforcing_consecutive_gateway_failure": 0,
        "split_external_local_origin_errors": True,
        "consecutive_local_origin_failure": 5,
        "enforcing_local_origin_success_rate": 0,
        "enforcing_success_rate": 0,
        "interval": seconds(min(10.0, ejection_s)),
        "base_ejection_time": seconds(ejection_s),
        "max_ejection_percent": 50,
        # A replica that says it is ready and answers 500 stays out for its time: its own word does not bring it back.
        "successful_active_health_check_uneject_host": False,
    }


def sick_answer() -> Document:
    """Which answers speak against a replica: 500, and any 5xx that is not DAC's own.

    A 502, 503 or 504 with `x-dac-request-id` tells of a provider or of a budget: another replica would say the same.
    """
    internal = {"name": ":status", "string_match": {"exact": "500"}}
    failed = {"name": ":status", "string_match": {"safe_regex": {"regex": "5[0-9][0-9]"}}}
    foreign = {"name": "x-dac-request-id", "present_match": True, "invert_match": True}
    return {
        "or_match": {
            "rules": [
                {"http_response_headers_match": {"headers": [internal]}},
                {"http_response_headers_match": {"headers": [failed, foreign]}},
            ]
        }
    }
