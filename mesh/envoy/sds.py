"""Certificates by file: secrets that Envoy reads again when they change, and the TLS contexts that name them."""

from collections.abc import Sequence

from mesh.envoy.document import Document, extension, typed

CERTIFICATE, AUTHORITY = "dac_certificate", "dac_authority"
CERTIFICATE_FILE, AUTHORITY_FILE = "sds_certificate.yaml", "sds_ca.yaml"
TLS_DIR, SDS_DIR = "/etc/dac/tls", "/etc/dac/envoy"
_TLS = "extensions.transport_sockets.tls.v3."
_MODERN = {"tls_minimum_protocol_version": "TLSv1_2"}
_MUTUAL = {"tls_minimum_protocol_version": "TLSv1_3", "tls_maximum_protocol_version": "TLSv1_3"}


def sds_files(tls_dir: str) -> dict[str, Document]:
    """File name → its content: this process's certificate with its key, and whom it trusts."""
    watched = {"watched_directory": {"path": tls_dir}}
    certificate = typed(
        _TLS + "Secret",
        name=CERTIFICATE,
        tls_certificate={
            "certificate_chain": {"filename": f"{tls_dir}/tls.crt"},
            "private_key": {"filename": f"{tls_dir}/tls.key"},
            **watched,
        },
    )
    authority = typed(
        _TLS + "Secret",
        name=AUTHORITY,
        validation_context={"trusted_ca": {"filename": f"{tls_dir}/ca.crt"}, **watched},
    )
    return {CERTIFICATE_FILE: {"resources": [certificate]}, AUTHORITY_FILE: {"resources": [authority]}}


def _secret(name: str, file: str, sds_dir: str) -> Document:
    source = {"path": f"{sds_dir}/{file}", "watched_directory": {"path": sds_dir}}
    return {"name": name, "sds_config": {"resource_api_version": "V3", "path_config_source": source}}


def server_tls(sds_dir: str) -> Document:
    """TLS towards callers: HTTP/2 or HTTP/1.1."""
    return extension(
        "envoy.transport_sockets.tls",
        _TLS + "DownstreamTlsContext",
        common_tls_context={
            "alpn_protocols": ["h2", "http/1.1"],
            "tls_params": _MODERN,
            "tls_certificate_sds_secret_configs": [_secret(CERTIFICATE, CERTIFICATE_FILE, sds_dir)],
        },
    )


def _mutual(sds_dir: str, peers: Sequence[str]) -> Document:
    if not peers:
        raise ValueError("without a list of SPIFFE ids Envoy would let every certificate in")
    matchers = [{"san_type": "URI", "matcher": {"exact": peer}} for peer in peers]
    return {
        "alpn_protocols": ["h2"],
        "tls_params": _MUTUAL,
        "tls_certificate_sds_secret_configs": [_secret(CERTIFICATE, CERTIFICATE_FILE, sds_dir)],
        "combined_validation_context": {
            "default_validation_context": {"match_typed_subject_alt_names": matchers},
            "validation_context_sds_secret_config": _secret(AUTHORITY, AUTHORITY_FILE, sds_dir),
        },
    }


def mutual_server_tls(sds_dir: str, callers: Sequence[str]) -> Document:
    """TLS towards other pods: only a certificate with one of these SPIFFE ids is let in."""
    return extension(
        "envoy.transport_sockets.tls",
        _TLS + "DownstreamTlsContext",
        require_client_certificate=True,
        # A resumed session would outlive a certificate that was taken back.
        disable_stateless_session_resumption=True,
        disable_stateful_session_resumption=True,
        common_tls_context=_mutual(sds_dir, callers),
    )


def mutual_client_tls(sds_dir: str, peer: str, sni: str) -> Document:
    """TLS to one pod: it must show exactly this SPIFFE id."""
    return extension(
        "envoy.transport_sockets.tls",
        _TLS + "UpstreamTlsContext",
        sni=sni,
        max_session_keys=0,
        common_tls_context=_mutual(sds_dir, [peer]),
    )
