"""Every generated Envoy file is one that the real Envoy takes, without a word of complaint."""

import re

import pytest

from mesh.app import ROOT
from mesh.envoy import certificates
from mesh.envoy.__main__ import CHART, PLAIN
from mesh.envoy.document import Endpoint, to_yaml
from mesh.envoy.edge import EdgeOptions, edge
from mesh.envoy.groups import Names
from tests.edge.envoy_process import validate
from tests.unit.mesh.test_envoy import TEXTS, render

PLAINS = sorted(path for path in (ROOT / PLAIN).rglob("*.yaml") if not path.name.startswith("sds_"))
TEMPLATES = sorted((ROOT / CHART).rglob("*.tpl"))


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    folder = tmp_path_factory.mktemp("certificates")
    certificates.make(folder, Names(), groups=["edge"])
    return folder / "edge"


@pytest.mark.parametrize("path", [*PLAINS, *TEMPLATES], ids=lambda path: str(path.relative_to(ROOT)))
def test_envoy_takes_the_file(path, authority, tmp_path):
    text = path.read_text()
    if path.suffix == ".tpl":
        text = render(text, {**TEXTS, "dac.envoy.tls": "yes"})
    file = tmp_path / "envoy.yaml"
    file.write_text(re.sub("/etc/dac/(envoy|tls)", str(authority), text))
    assert validate(file) == ""


def test_envoy_takes_every_option_at_once(authority, tmp_path):
    name = Endpoint("gateway.example", 8000)
    options = EdgeOptions(
        gateways=(name, Endpoint("127.0.0.1", 8000)),
        grpc_gateways=(name, Endpoint("127.0.0.1", 50051)),
        max_body_bytes=10_000_000,
        request_timeout_s=600,
        sds_dir=str(authority),
        rate_limit_service=Endpoint("limits.example", 8081),
        otlp=Endpoint("::1", 4317),
        canary=Endpoint("canary.example", 8000),
        canary_grpc=Endpoint("canary.example", 50051),
        canary_weight=10,
        transcode=True,
        trusted_hops=1,
    )
    file = tmp_path / "envoy.yaml"
    file.write_text(to_yaml(edge(options), "everything"))
    assert validate(file) == ""
