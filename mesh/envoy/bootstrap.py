"""What surrounds listeners and clusters in every Envoy of DAC: the admin port, the process' limits, the probe port."""

from collections.abc import Sequence

from mesh.envoy.document import Document, Endpoint, extension, typed

HCM = "extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
HEALTH_CHECK = "extensions.filters.http.health_check.v3.HealthCheck"
ADMIN_CLUSTER = "envoy_admin"
_MONITOR = "envoy.resource_monitors."
HEAP = _MONITOR + "fixed_heap"
CONNECTIONS = _MONITOR + "global_downstream_max_connections"


def bootstrap(
    node: str,
    *,
    admin: Endpoint,
    heap_bytes: int | str,
    max_connections: int,
    listeners: Sequence[Document],
    clusters: Sequence[Document],
) -> Document:
    """A whole configuration."""
    return {
        "node": {"id": node, "cluster": node},
        "admin": {"address": admin.address()},
        # The admin layer lets an operator change a runtime value until the next restart.
        "layered_runtime": {
            "layers": [
                # The form of an API key is a longer regular expression than Envoy takes without being told.
                {"name": "static", "static_layer": {"re2.max_program_size.error_level": 1000}},
                {"name": "admin", "admin_layer": {}},
            ],
        },
        "overload_manager": overload_manager(heap_bytes, max_connections),
        "static_resources": {"listeners": list(listeners), "clusters": list(clusters)},
    }


def overload_manager(heap_bytes: int | str, max_connections: int) -> Document:
    """Gives memory back at 90 % of the heap, refuses requests at 95 %, ends the largest streams at 98 %."""

    def action(name: str, threshold: float) -> Document:
        return {
            "name": f"envoy.overload_actions.{name}",
            "triggers": [{"name": HEAP, "threshold": {"value": threshold}}],
        }

    return {
        "refresh_interval": "0.25s",
        "buffer_factory_config": {"minimum_account_to_track_power_of_two": 20},
        "resource_monitors": [
            extension(
                HEAP, "extensions.resource_monitors.fixed_heap.v3.FixedHeapConfig", max_heap_size_bytes=heap_bytes
            ),
            extension(
                CONNECTIONS,
                "extensions.resource_monitors.downstream_connections.v3.DownstreamConnectionsConfig",
                max_active_downstream_connections=max_connections,
            ),
        ],
        "actions": [
            action("shrink_heap", 0.90),
            action("disable_http_keepalive", 0.92),
            action("stop_accepting_requests", 0.95),
            {
                "name": "envoy.overload_actions.reset_high_memory_stream",
                "triggers": [{"name": HEAP, "scaled": {"scaling_threshold": 0.95, "saturation_threshold": 0.98}}],
            },
        ],
    }


def router() -> Document:
    """The last filter. Envoy's own headers stay out of requests and answers."""
    return extension(
        "envoy.filters.http.router", "extensions.filters.http.router.v3.Router", suppress_envoy_headers=True
    )


def probe_listener(at: Endpoint, *, healthy_clusters: Sequence[str]) -> Document:
    """/live, /ready and /metrics of Envoy itself, for kubelet and Prometheus; the admin port stays on loopback.

    /ready is 503 while one of the clusters has no healthy member, and after `POST /healthcheck/fail`.
    """
    ready = extension(
        "envoy.filters.http.health_check",
        HEALTH_CHECK,
        pass_through_mode=False,
        headers=[{"name": ":path", "string_match": {"exact": "/ready"}}],
        cluster_min_healthy_percentages={name: {"value": 1} for name in healthy_clusters},
    )
    routes = [
        {"match": {"path": "/live"}, "direct_response": {"status": 200, "body": {"inline_string": "live\n"}}},
        {
            "match": {"path": "/metrics"},
            "route": {"cluster": ADMIN_CLUSTER, "prefix_rewrite": "/stats/prometheus", "timeout": "10s"},
        },
    ]
    manager = typed(
        HCM,
        stat_prefix="probes",
        codec_type="AUTO",
        request_headers_timeout="10s",
        stream_idle_timeout="30s",
        route_config={"name": "probes", "virtual_hosts": [{"name": "probes", "domains": ["*"], "routes": routes}]},
        http_filters=[ready, router()],
    )
    return {
        "name": "probes",
        "address": at.address(),
        # Probes must be answered when callers have taken all places.
        "bypass_overload_manager": True,
        "filter_chains": [
            {"filters": [{"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}]}
        ],
    }


def admin_cluster(admin: Endpoint) -> Document:
    """Where the probe port takes /metrics from."""
    return {
        "name": ADMIN_CLUSTER,
        "type": "STATIC",
        "connect_timeout": "1s",
        "load_assignment": {
            "cluster_name": ADMIN_CLUSTER,
            "endpoints": [{"lb_endpoints": [{"endpoint": {"address": admin.address()}}]}],
        },
    }
