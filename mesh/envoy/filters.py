"""The HTTP filters of the edge, in the order in which a request meets them."""

from mesh.envoy.api import HttpForm, descriptor_set
from mesh.envoy.bootstrap import HEALTH_CHECK, router
from mesh.envoy.document import Document, extension, typed

HTTP = "envoy.filters.http."
TYPE = "extensions.filters.http."
NAMESPACE, KEY_ID, API_KEY_ID = "dac", "key_id", "api_key_id"
RATE_LIMIT_CLUSTER = "rate_limit_service"
GRPC_LIMIT_BYTES = 12 * 1024 * 1024
"""The gateway's own limit of a gRPC message."""
_KEY = r"dac_[a-z0-9]{1,16}_([A-Za-z0-9]{12})_[A-Za-z0-9_]{16,170}[ \t]*(?:,\C*)?$|^\C*$"
KEY_FORM = r"^[ \t]*(?i:bearer)[ \t]+" + _KEY
API_KEY_FORM = r"^[ \t]*" + _KEY
"""Takes the public part out of an API key. A second header of the name comes behind a comma, and the gateway reads the
first: with more than blanks overlooked here a caller would shake off its limit. The last line matches whatever is no
key, of any bytes, and leaves nothing of it: without it Envoy would pass the whole header on."""


def health_check() -> Document:
    """/ready goes to the gateway, and is 503 at once after `POST /healthcheck/fail` on the admin port."""
    return extension(
        HTTP + "health_check",
        HEALTH_CHECK,
        pass_through_mode=True,
        headers=[{"name": ":path", "string_match": {"exact": "/ready"}}],
    )


def key_id() -> Document:
    """The public id of the caller's API key, for rate limits and the access log. The secret stays behind."""
    rules = [
        {
            "header": header,
            "on_header_present": {
                "metadata_namespace": NAMESPACE,
                "key": key,
                "type": "STRING",
                "regex_value_rewrite": {"pattern": {"regex": form}, "substitution": r"\1"},
            },
            "remove": False,
        }
        for header, key, form in (("authorization", KEY_ID, KEY_FORM), ("x-api-key", API_KEY_ID, API_KEY_FORM))
    ]
    return extension(HTTP + "header_to_metadata", TYPE + "header_to_metadata.v3.Config", request_rules=rules)


def local_rate_limit(per_s: int) -> Document:
    """The flood guard of this Envoy: a second's worth may come at once."""
    always = {"default_value": {"numerator": 100, "denominator": "HUNDRED"}}
    return extension(
        HTTP + "local_ratelimit",
        TYPE + "local_ratelimit.v3.LocalRateLimit",
        stat_prefix="flood_guard",
        token_bucket={"max_tokens": per_s, "tokens_per_fill": per_s, "fill_interval": "1s"},
        filter_enabled=always,
        filter_enforced=always,
        rate_limited_as_resource_exhausted=True,
    )


def global_rate_limit() -> Document:
    """Asks the rate limit service (RLS v3, domain `dac`); when it does not answer in 50 ms the request passes."""
    return extension(
        HTTP + "ratelimit",
        TYPE + "ratelimit.v3.RateLimit",
        domain="dac",
        failure_mode_deny=False,
        timeout="0.05s",
        rate_limited_as_resource_exhausted=True,
        rate_limit_service={
            "transport_api_version": "V3",
            "grpc_service": {"envoy_grpc": {"cluster_name": RATE_LIMIT_CLUSTER}, "timeout": "0.05s"},
        },
    )


def limit_descriptors() -> list[Document]:
    """What the rate limit service is asked about: the caller's address, and its key when it has one."""
    # Which of two headers the gateway reads depends on the path: a caller that sends both is counted under both.
    keys = [
        {
            "metadata": {
                "descriptor_key": KEY_ID,
                "metadata_key": {"key": NAMESPACE, "path": [{"key": key}]},
                "source": "DYNAMIC",
            }
        }
        for key in (KEY_ID, API_KEY_ID)
    ]
    return [{"actions": [{"remote_address": {}}]}, *({"actions": [key]} for key in keys)]


def body_limit(max_body_bytes: int) -> Document:
    """Holds a body until it is whole, so that one that is too large never reaches the gateway."""
    return extension(HTTP + "buffer", TYPE + "buffer.v3.Buffer", max_request_bytes=max_body_bytes)


def no_body_limit() -> Document:
    """For gRPC, which sends in pieces and has limits of its own."""
    return {HTTP + "buffer": typed(TYPE + "buffer.v3.BufferPerRoute", disabled=True)}


def off(*filters: str) -> Document:
    """Routes on which filters do nothing."""
    return {HTTP + name: typed("config.route.v3.FilterConfig", disabled=True) for name in filters}


def transcoded(forms: tuple[HttpForm, ...]) -> tuple[HttpForm, ...]:
    """The forms that Envoy can transcode: an error in the middle of a stream would be swallowed."""
    return tuple(form for form in forms if not form.streams)


def transcoder(forms: tuple[HttpForm, ...], max_body_bytes: int) -> Document:
    """JSON to gRPC for the annotated services, from their descriptors."""
    services = sorted({form.service for form in transcoded(forms)})
    return extension(
        HTTP + "grpc_json_transcoder",
        TYPE + "grpc_json_transcoder.v3.GrpcJsonTranscoder",
        services=services,
        convert_grpc_status=True,
        max_request_body_size=max_body_bytes,
        max_response_body_size=GRPC_LIMIT_BYTES,
        print_options={"preserve_proto_field_names": True, "always_print_primitive_fields": True},
        request_validation_options={"reject_unknown_method": True},
        proto_descriptor_bin=descriptor_set(frozenset(services)),
    )


def last() -> list[Document]:
    """gRPC's statistics, and the router."""
    return [
        extension(
            HTTP + "grpc_stats",
            TYPE + "grpc_stats.v3.FilterConfig",
            emit_filter_state=True,
            stats_for_all_methods=False,
        ),
        router(),
    ]
