"""Writes what is generated from this package: deploy/envoy and the Helm chart's files. `--check` only compares.

Run as `python -m mesh.envoy [--check]`.
"""

import dataclasses
import pathlib
import sys

from mesh.app import ROOT, load_settings
from mesh.envoy.document import Endpoint, to_yaml
from mesh.envoy.edge import EdgeOptions, edge
from mesh.envoy.groups import TOPOLOGIES, Names
from mesh.envoy.sds import TLS_DIR, sds_files
from mesh.envoy.sidecar import SidecarOptions, sidecar
from mesh.envoy.templates import GENERATED, HEAP, NAMES, SIDECAR_HEAP, edge_template, sidecar_template
from mesh.freshness import bring_up_to_date

PLAIN, CHART = "deploy/envoy", "deploy/helm/dac/files/envoy"
SHIPPED_TOPOLOGIES = {"edge": "", "separate": "separate/"}
"""Topology → the folder of its sidecars."""


def edge_options(host: str) -> EdgeOptions:
    """An edge in front of `host`, with the shipped settings."""
    gateway = load_settings(env={}).services["gateway"]
    return EdgeOptions(
        gateways=(Endpoint(host, gateway.http_port),),
        grpc_gateways=(Endpoint(host, gateway.grpc_port),),
        max_body_bytes=gateway.max_body_bytes,
        request_timeout_s=gateway.request_timeout_s,
    )


def generated() -> dict[str, str]:
    """Path below the repository → text."""
    files = {f"{PLAIN}/edge.yaml": to_yaml(edge(edge_options("dac")), GENERATED)}
    chart = dataclasses.replace(edge_options(NAMES.host("gateway")), heap_bytes=HEAP)
    files[f"{CHART}/edge.yaml.tpl"] = edge_template(chart)
    for name, document in sds_files(TLS_DIR).items():
        files[f"{PLAIN}/{name}"] = files[f"{CHART}/{name}"] = to_yaml(document, GENERATED)
    for topology, folder in SHIPPED_TOPOLOGIES.items():
        for group in TOPOLOGIES[topology]:
            options = SidecarOptions(group, topology, Names())
            files[f"{PLAIN}/{folder}sidecar-{group}.yaml"] = to_yaml(sidecar(options), GENERATED)
            templated = SidecarOptions(group, topology, NAMES, heap_bytes=SIDECAR_HEAP)
            files[f"{CHART}/{folder}sidecar-{group}.yaml.tpl"] = sidecar_template(templated)
    return files


def main(root: pathlib.Path, *, check: bool) -> int:
    """Brings the files up to date, or says which are not; returns the exit code."""
    there = [path for top in (PLAIN, CHART) for path in (root / top).rglob("*") if path.is_file()]
    return bring_up_to_date(root, generated(), there, check=check, again="python -m mesh.envoy")


if __name__ == "__main__":
    sys.exit(main(ROOT, check="--check" in sys.argv))
