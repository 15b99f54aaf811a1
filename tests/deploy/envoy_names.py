"""The metrics of Envoy that board and rules use: Envoy's own names, as GET /stats/prometheus of its admin port writes
them. A test starts a real Envoy and looks for every one of them."""

_MANAGER, _CLUSTER = "envoy_http_conn_manager_prefix", "envoy_cluster_name"
_CLASS = "envoy_response_code_class"

ENVOY_NAMES: dict[str, tuple[str, ...]] = {
    "envoy_server_live": (),
    "envoy_server_uptime": (),
    "envoy_http_downstream_rq_xx": (_MANAGER, _CLASS),
    "envoy_http_downstream_rq_active": (_MANAGER,),
    "envoy_http_downstream_rq_time_bucket": (_MANAGER, "le"),
    "envoy_http_downstream_cx_active": (_MANAGER,),
    "envoy_http_downstream_cx_total": (_MANAGER,),
    "envoy_http_local_rate_limit_rate_limited": ("envoy_local_http_ratelimit_prefix",),
    "envoy_cluster_upstream_rq_xx": (_CLUSTER, _CLASS),
    "envoy_cluster_upstream_rq_time_bucket": (_CLUSTER, "le"),
    "envoy_cluster_upstream_rq_timeout": (_CLUSTER,),
    "envoy_cluster_upstream_rq_retry": (_CLUSTER,),
    "envoy_cluster_upstream_rq_retry_success": (_CLUSTER,),
    "envoy_cluster_upstream_rq_pending_overflow": (_CLUSTER,),
    "envoy_cluster_upstream_cx_active": (_CLUSTER,),
    "envoy_cluster_upstream_cx_connect_fail": (_CLUSTER,),
    "envoy_cluster_ratelimit_over_limit": (_CLUSTER,),
    "envoy_cluster_membership_healthy": (_CLUSTER,),
    "envoy_cluster_membership_total": (_CLUSTER,),
    "envoy_cluster_outlier_detection_ejections_active": (_CLUSTER,),
    "envoy_cluster_outlier_detection_ejections_enforced_total": (_CLUSTER,),
}
"""name → its own labels."""
