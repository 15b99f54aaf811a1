"""What Envoy tells of a request: one line of JSON, and a span. Never a query, a body or a credential."""

from mesh.envoy.document import Document, extension
from mesh.envoy.filters import KEY_ID, NAMESPACE

OTLP_CLUSTER = "otlp_collector"
ACCESS_LOG_FIELDS = {
    "time": "%START_TIME%",
    "method": "%REQ(:METHOD)%",
    "path": "%PATH(NQ:ORIG_OR_PATH)%",
    "protocol": "%PROTOCOL%",
    "status": "%RESPONSE_CODE%",
    "grpc_status": "%GRPC_STATUS%",
    "flags": "%RESPONSE_FLAGS%",
    "details": "%RESPONSE_CODE_DETAILS%",
    "duration_ms": "%DURATION%",
    "first_byte_ms": "%RESPONSE_DURATION%",
    "bytes_in": "%BYTES_RECEIVED%",
    "bytes_out": "%BYTES_SENT%",
    "upstream": "%UPSTREAM_CLUSTER%",
    "upstream_host": "%UPSTREAM_HOST%",
    "upstream_failure": "%UPSTREAM_TRANSPORT_FAILURE_REASON%",
    "attempts": "%UPSTREAM_REQUEST_ATTEMPT_COUNT%",
    "client": "%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%",
    "request_id": "%REQ(X-REQUEST-ID)%",
    "dac_request_id": "%RESP(X-DAC-REQUEST-ID)%",
    "trace_id": "%TRACE_ID%",
}
"""Field → Envoy's operator."""


def access_log(**more: str) -> Document:
    """A line of JSON on standard output for every request, with fields of the listener's own."""
    return extension(
        "envoy.access_loggers.stdout",
        "extensions.access_loggers.stream.v3.StdoutAccessLog",
        log_format={"json_format": {**ACCESS_LOG_FIELDS, **more}},
    )


def edge_access_log() -> Document:
    """The edge's: with the public id of the key."""
    return access_log(key_id=f"%DYNAMIC_METADATA({NAMESPACE}:{KEY_ID})%")


def sidecar_access_log() -> Document:
    """A sidecar's: with the SPIFFE id of the caller."""
    return access_log(peer="%DOWNSTREAM_PEER_URI_SAN%")


def tracing(service_name: str, percent: float) -> Document:
    """Spans by OTLP; a caller's W3C trace goes on, and the gateway's spans hang below Envoy's."""
    provider = extension(
        "envoy.tracers.opentelemetry",
        "config.trace.v3.OpenTelemetryConfig",
        service_name=service_name,
        grpc_service={"envoy_grpc": {"cluster_name": OTLP_CLUSTER}, "timeout": "0.5s"},
    )
    return {
        "random_sampling": {"value": percent},
        # The span's URL would carry the query.
        "max_path_tag_length": 0,
        "provider": provider,
        "custom_tags": [
            {"tag": "url.path", "value": "%PATH(NQ:ORIG_OR_PATH)%"},
        ],
    }
