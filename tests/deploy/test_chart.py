"""The chart renders: real helm lint and template over every ci values file, strict schemas, goldens, made files."""

import difflib
import json
import os
import pathlib
import re
import subprocess
import sys
from typing import Any

import jsonschema
import kubernetes_validate  # type: ignore[import-untyped]
import pytest
import yaml

from mesh import chart
from mesh.app import RELOADED, ROOT, TARGETS
from mesh.config import ConfigError
from tests.deploy.helm_binary import CHART, MADE_ONCE, VALUES, Helm

pytestmark = pytest.mark.timeout(180)

MADE_ELSEWHERE = re.compile(
    r"(?m)(?:^  (?P<name>[\w-]+\.(?:json|yaml)): \|-?\n(?:    .*\n|\s*\n)+)|(?:^spec:\n  groups:\n(?:  .*\n)+)"
)
"""Envoy's configuration, boards and rules: their own tests hold them."""
GOLDEN = pathlib.Path(__file__).parent / "golden" / "chart"
GOLDENS = [path for path in VALUES if path.name.split("-")[0] in ("minimal", "cnpg", "mtls", "everything")]
"""The rest differs from these in what the other files of these tests assert."""
KUBERNETES = "1.33"
CRDS = {
    ("cert-manager.io/v1", "Certificate"),
    ("flagger.app/v1beta1", "Canary"),
    ("flagger.app/v1beta1", "MetricTemplate"),
    ("gateway.networking.k8s.io/v1", "GRPCRoute"),
    ("gateway.networking.k8s.io/v1", "HTTPRoute"),
    ("keda.sh/v1alpha1", "ScaledObject"),
    ("monitoring.coreos.com/v1", "PrometheusRule"),
    ("monitoring.coreos.com/v1", "ServiceMonitor"),
    ("postgresql.cnpg.io/v1", "Cluster"),
}
"""What has no schema among Kubernetes' own: rendered and parsed, but not validated here."""


def id_of(path: pathlib.Path) -> str:
    """A values file's name in a test's id."""
    return path.stem.removesuffix("-values")


def values_of(path: pathlib.Path) -> dict[str, Any]:
    """A values file."""
    loaded: dict[str, Any] = yaml.safe_load(path.read_text()) or {}
    return loaded


def test_the_values_files_are_there() -> None:
    wanted = {"all", "minimal", "services", "separate", "cnpg", "flagger", "mtls", "everything"}
    assert wanted <= {id_of(path) for path in VALUES}


@pytest.mark.parametrize("values", VALUES, ids=id_of)
def test_helm_lints_it_strictly(helm: Helm, values: pathlib.Path) -> None:
    done = helm.run("lint", "--strict", str(CHART), "-f", str(values))
    assert done.code == 0, done.text + done.error
    assert "WARNING" not in done.text


@pytest.mark.parametrize("values", VALUES, ids=id_of)
def test_what_is_rendered_is_valid_kubernetes(helm: Helm, values: pathlib.Path) -> None:
    objects = helm.file(values).objects
    for one in objects:
        if (one["apiVersion"], one["kind"]) not in CRDS:
            kubernetes_validate.validate(one, KUBERNETES, strict=True)


def test_what_has_no_schema_is_not_passed_over() -> None:
    unknown = {"apiVersion": "example.com/v1", "kind": "Unknown", "metadata": {"name": "x"}}
    with pytest.raises(kubernetes_validate.SchemaNotFoundError):
        kubernetes_validate.validate(unknown, KUBERNETES, strict=True)
    wrong = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "x"}, "spec": {"port": 1}}
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(wrong, KUBERNETES, strict=True)


def test_no_custom_resource_is_listed_for_nothing(helm: Helm) -> None:
    seen = {(one["apiVersion"], one["kind"]) for path in VALUES for one in helm.file(path).objects}
    assert seen >= CRDS


@pytest.mark.parametrize("values", VALUES, ids=id_of)
def test_names_are_unique_and_short_enough(helm: Helm, values: pathlib.Path) -> None:
    for flags in ((), ("--set", "fullnameOverride=" + "a" * 40)):
        objects = helm.template(values, flags=flags).objects
        names = [(one["kind"], one["metadata"]["name"]) for one in objects]
        assert len(names) == len(set(names))
        assert all(len(name) <= 63 for _, name in names)


@pytest.mark.parametrize("values", GOLDENS, ids=id_of)
def test_the_golden_files_agree(helm: Helm, values: pathlib.Path) -> None:
    """Refresh them with DAC_UPDATE_GOLDEN=1 and read the difference before it is committed."""
    text = MADE_ONCE.sub(r"  \1: made once", helm.file(values).text)
    text = MADE_ELSEWHERE.sub(lambda found: f"  {found['name'] or 'spec'}: made elsewhere\n", text)
    golden = GOLDEN / f"{id_of(values)}.yaml"
    if os.environ.get("DAC_UPDATE_GOLDEN"):
        golden.write_text(text)
    held = golden.read_text() if golden.exists() else ""
    shown = "\n".join(
        list(difflib.unified_diff(held.splitlines(), text.splitlines(), "golden", "now", lineterm=""))[:60]
    )
    assert text == held, f"{shown}\n(refresh: DAC_UPDATE_GOLDEN=1 pytest {pathlib.Path(__file__).relative_to(ROOT)})"


def test_no_golden_file_is_left_over() -> None:
    assert {path.stem for path in GOLDEN.iterdir()} == {id_of(path) for path in GOLDENS}


def test_the_made_files_are_fresh() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "mesh.chart", str(CHART.relative_to(ROOT)), "--check"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_stale_made_file_is_named(tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("values.yaml", "values.schema.yaml", "files/removed.yaml"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text((CHART / name).read_text())
    assert chart.main(tmp_path, check=True) == 1
    assert "not fresh" in capsys.readouterr().out
    assert chart.main(tmp_path, check=False) == 0
    assert chart.main(tmp_path, check=True) == 0
    mesh = tmp_path / "files" / "mesh.yaml"
    mesh.write_text(mesh.read_text().replace("50052", "50099"))
    assert chart.main(tmp_path, check=True) == 1
    assert "files/mesh.yaml" in capsys.readouterr().out


def test_every_field_that_the_chart_owns_exists() -> None:
    """A field that was renamed would no longer be refused."""
    fields = set(chart.variables().values())
    assert set(chart.OWNED) - fields == set()
    secrets = {name for name in fields if re.search(r"_url$|_key$|_token$|_key_file$", name)}
    # Addresses alone, the place of a file, and what is a secret already: {env: …} or {file: …}, as
    # budget.alert_webhook_secret is.
    assert secrets - set(chart.OWNED) == {
        "audit.log_key_file",
        "budget.alert_webhook_url",
        "memory.vector_weaviate_url",
        "memory.vector_weaviate_api_key",
    }


def leaves(schema: dict[str, Any], values: Any, path: str = "") -> list[str]:
    """Paths of values that the schema does not describe."""
    if not isinstance(values, dict) or "properties" not in schema:
        return [] if schema else [path]
    assert schema.get("additionalProperties") is False, f"{path or 'the top'} takes unknown keys"
    return [
        missing
        for key, value in values.items()
        for missing in (
            leaves(schema["properties"][key], value, f"{path}.{key}".strip("."))
            if key in schema["properties"]
            else [f"{path}.{key}".strip(".")]
        )
    ]


def test_schema_and_values_agree() -> None:
    schema = json.loads((CHART / "values.schema.json").read_text())
    values = values_of(CHART / "values.yaml")
    assert leaves(schema, values) == []
    jsonschema.validate(values, schema)
    for path in VALUES:
        jsonschema.validate(values_of(path), schema)
    described = {name for name, one in schema["properties"].items() if not one.get("deprecated")}
    assert described == set(values), "a value without a default, or a default without a schema"


def test_every_section_is_closed() -> None:
    schema = json.loads((CHART / "values.schema.json").read_text())

    def walk(node: Any, path: str) -> list[str]:
        if not isinstance(node, dict):
            return []
        here = [path] if "properties" in node and node.get("additionalProperties") is not False else []
        return here + [found for key, value in node.items() for found in walk(value, f"{path}/{key}")]

    assert walk(schema, "") == []


def test_every_value_says_what_it_is_for() -> None:
    text = (CHART / "values.yaml").read_text()
    comments = chart.value_comments(text)
    plain = {"podSecurityContext", "containerSecurityContext", "resources", "migration.resources"}

    def walk(values: dict[str, Any], path: str) -> list[str]:
        missing = []
        for key, value in values.items():
            name = f"{path}.{key}".strip(".")
            if name in comments:
                continue
            missing += walk(value, name) if isinstance(value, dict) and value and name not in plain else [name]
        return missing

    assert walk(yaml.safe_load(text), "") == []
    assert set(comments) >= plain


def test_the_schema_of_config_takes_what_dac_takes() -> None:
    """The example of docs/configuration.md passes; each section and its type is refused when wrong."""
    schema = {**chart.config_schema(), "definitions": chart.price_definitions()}
    page = (ROOT / "docs" / "configuration.md").read_text()
    block = re.search(r"```yaml\n(.*?)```", page, re.S)
    assert block is not None
    example = yaml.safe_load(block[1])
    example.pop("gateway")
    jsonschema.validate(example, schema)
    model = {"id": "a/b", "provider": "a", "context_tokens": 9}
    shipped = yaml.safe_load((ROOT / "config" / "models.yaml").read_text())["models"]
    # As Helm gives it: all keys are text, and a day is none.
    prices = [json.loads(json.dumps(one["price"], default=str)) for one in shipped]
    jsonschema.validate({"models": [{**model, "price": price} for price in prices]}, schema)
    wrongs: list[dict[str, Any]] = [
        {"gatewya": {}},
        {"budget": {"sweep_limit": "many"}},
        {"router": {"named_fallbacks": 1}},
        {"audit": {"fetch_limitt": 1}},
        {"providers": {"openai": {"api_key": "sk-in-plain-text"}}},
        {"models": [{"id": "a/b"}]},
        *({"models": [{**model, "price": price}]} for price in ("gratis", {"above": {"x": {}}}, [], {"inputt": 1})),
        {"models": [{"id": "a/b", "provider": "a", "context_tokens": 0}]},
    ]
    for wrong in wrongs:
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(wrong, schema)
    assert set(schema["properties"]) == {"mesh", "providers", "models", "aliases", *RELOADED, *TARGETS}
    assert issubclass(ConfigError, Exception)


BLOCK = re.compile(r"<!-- values of the chart -->\n```ya?ml\n(.*?)^```$", re.M | re.S)
EXAMPLES = [
    (path.stem, number, block)
    for path in sorted((ROOT / "docs").glob("*.md"))
    for number, block in enumerate(BLOCK.findall(path.read_text()))
]


@pytest.mark.parametrize(("page", "number", "block"), EXAMPLES, ids=lambda one: str(one)[:20].split("\n")[0])
def test_values_in_the_pages_render(helm: Helm, page: str, number: int, block: str) -> None:
    assert helm.template(yaml.safe_load(block)).objects, f"{page}, example {number}"


def test_the_chart_has_its_version() -> None:
    meta = yaml.safe_load((CHART / "Chart.yaml").read_text())
    project = re.search(r'(?m)^version = "(.*)"', (ROOT / "pyproject.toml").read_text())
    assert project is not None and meta["appVersion"] == project[1]
    assert f"## {meta['version']}" in (CHART / "UPGRADING.md").read_text()
