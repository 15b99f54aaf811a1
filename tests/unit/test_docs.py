"""The pages hold to the code: links, HTTP paths, commands, variables and configuration that they mention exist."""

import dataclasses
import functools
import json
import pathlib
import re
from collections.abc import Iterable, Iterator
from typing import Any
from unittest.mock import MagicMock

import jsonschema
import pytest
import typer.main
import yaml

from mesh.app import ROOT, TARGETS, load_settings
from mesh.cli import application
from mesh.config import MeshConfig
from mesh.errors import CODES, MeshError, Reason
from mesh.known_providers import KNOWN
from services.gateway.api import api_page, openapi, transcoder
from services.gateway.edge.failures import STATUS, error_object
from services.gateway.edge.pages import Pages

DOCS = ROOT / "docs"
SERVICE_PAGES = [DOCS / f"{name}.md" for name in TARGETS]
TOP = [ROOT / name for name in ("README.md", "SECURITY.md", "CONTRIBUTING.md", "CHANGELOG.md")]
PAGES = [*TOP, *sorted(DOCS.rglob("*.md"))]
PATH_PAGES = [
    DOCS / f"{name}.md"
    for name in ("mesh", "telemetry", "api", "quickstart", "concepts", "deployment", "security", "troubleshooting")
]
CHART_VALUES = "<!-- values of the chart -->\n"
"""Stands above a block of YAML that is not DAC's configuration."""
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.M | re.S)
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
PATH = re.compile(r"\b(GET|POST|PUT|DELETE|PATCH) (/[\w/{}:.\-]*)")
COMMAND = re.compile(r"(?:^|[\s`/])dac ((?:[a-z][a-z-]*)(?: [a-z][a-z-]*)?)", re.M)
CODE = re.compile(r"`([^`\n]+)`")
FLAG = re.compile(r"(?<![\w-])--[a-z][a-z-]*")
VARIABLE = re.compile(r"\bDAC_[A-Z][A-Z0-9_]*\b")
SECRET_FILE = re.compile(r"\{file: [^}]*\}")
HEADING = re.compile(r"^#+ (.+)$", re.M)
SOURCE = re.compile(r"`((?:mesh|services|tests|deploy|bench|protos|requirements|config|gen)/[\w./*-]*)`")
REASON = re.compile(
    r"^### ([A-Z_]+)\n\nHTTP (\d+), gRPC ([A-Z_]+), code `(\w+)`\.\n(.*?)(?=^## |^### |\Z)", re.M | re.S
)


def id_of(page: pathlib.Path) -> str:
    """A page's name in a test's id."""
    return str(page.relative_to(ROOT))


def anchor_of(heading: str) -> str:
    """The anchor that a heading gets."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-")


def code_of(text: str) -> Iterator[str]:
    """What is written as code: inline, and in blocks of a shell or of none."""
    for kind, block in FENCE.findall(text):
        if kind in ("", "sh"):
            yield from block.splitlines()
    yield from CODE.findall(FENCE.sub("", text))


@functools.cache
def served() -> set[tuple[str, str]]:
    """(method, path) of everything that is served, names of parameters left out."""
    found = transcoder.bindings()
    paths = {(one.verb, one.template.replace("=**", "")) for one in found}
    for path, operations in openapi.document(found)["paths"].items():
        paths |= {(verb.upper(), path) for verb in operations}
    for route in Pages.routes(MagicMock()):
        paths |= {(verb, route.path.replace(":path", "")) for verb in route.methods or ()}
    return {(verb, bare(path)) for verb, path in paths}


def bare(path: str) -> str:
    """A path with the names of its parameters left out."""
    return re.sub(r"\{[^}]*\}", "{}", path.rstrip(".:") if len(path) > 1 else path)


@functools.cache
def headings_of(file: pathlib.Path) -> list[str]:
    """The headings of a page."""
    return HEADING.findall(file.read_text())


@functools.cache
def program() -> Any:
    """The `dac` command as it is, with all commands below it."""
    return typer.main.get_command(application())


def unknown_links(page: pathlib.Path, text: str) -> list[str]:
    """Relative links that lead nowhere."""
    wrong = []
    for target in LINK.findall(FENCE.sub("", text)):
        if re.match(r"[a-z]+:", target):
            continue
        name, _, anchor = target.partition("#")
        file = (page.parent / name).resolve() if name else page
        anchors = {anchor_of(heading) for heading in headings_of(file)} if file.is_file() and anchor else {""}
        if not file.exists() or anchor not in anchors:
            wrong.append(target)
    return wrong


def unknown_commands(lines: Iterable[str]) -> list[str]:
    """`dac …` that the program does not have, with flags that the command does not have."""
    root, wrong = program(), []
    for line in lines:
        for found in COMMAND.finditer(line):
            words = found[1].split()
            command = root.commands.get(words[0])
            if hasattr(command, "commands") and len(words) > 1:
                command = command.commands.get(words[1])
            if command is None:
                wrong.append(f"dac {found[1]}")
                continue
            rest = line[found.end() :]
            if hasattr(command, "commands") and (third := re.match(r" ([a-z][a-z-]*)", rest)):
                command, rest = command.commands.get(third[1]), rest[third.end() :]
                if command is None:
                    wrong.append(f"dac {found[1]}{third[0]}")
                    continue
            known = {name for one in command.params for name in one.opts}
            rest = re.split(r"[`|;]|\s#", rest)[0]
            wrong += [f"dac {found[1]} {flag}" for flag in FLAG.findall(rest) if flag not in known]
    return wrong


@functools.cache
def known_variables() -> set[str]:
    """DAC_* of the configuration and of the code, and the servers that tests are told of."""
    names = set()
    classes: dict[str, type[Any]] = {"mesh": MeshConfig, **{name: one.config_class() for name, one in TARGETS.items()}}
    for name, cls in classes.items():
        for field in dataclasses.fields(cls):
            names.add(field.metadata.get("env", f"DAC_{name}_{field.name}".upper()))
    for folder in ("mesh", "services"):
        for file in (ROOT / folder).rglob("*.py"):
            names.update(re.findall(r'["\'](DAC_[A-Z0-9_]+)["\']', file.read_text()))
    for file in (ROOT / "tests" / "integration").rglob("*.py"):
        names.update(re.findall(r'os\.environ\.get\("(DAC_[A-Z0-9_]+_URL)"', file.read_text()))
    return names | {name for one in KNOWN.values() for name in (one.env, one.address_env)}


@pytest.mark.parametrize("page", PAGES, ids=id_of)
def test_links_resolve(page: pathlib.Path) -> None:
    assert unknown_links(page, page.read_text()) == []


@pytest.mark.parametrize("page", [*SERVICE_PAGES, *PATH_PAGES], ids=id_of)
def test_paths_are_served(page: pathlib.Path) -> None:
    paths, text = served(), page.read_text()
    text = re.sub(r"GET \S+ is not served", "", text)  # An example of a failure says so.
    mentioned = {(verb, bare(path)) for verb, path in PATH.findall(text)}
    assert mentioned - paths == set()


@pytest.mark.parametrize("page", SERVICE_PAGES, ids=id_of)
def test_every_path_of_a_service_is_on_its_page(page: pathlib.Path) -> None:
    mentioned = {(verb, bare(path)) for verb, path in PATH.findall(page.read_text())}
    own = {
        (one.verb, bare(one.template.replace("=**", ""))) for one in transcoder.bindings() if one.service == page.stem
    }
    assert own - mentioned == set()


@pytest.mark.parametrize("page", PAGES, ids=id_of)
def test_commands_exist(page: pathlib.Path) -> None:
    assert unknown_commands(code_of(page.read_text())) == []


@pytest.mark.parametrize("page", PAGES, ids=id_of)
def test_variables_exist(page: pathlib.Path) -> None:
    assert set(VARIABLE.findall(page.read_text())) - known_variables() == set()


@pytest.mark.parametrize("page", PAGES, ids=id_of)
def test_yaml_loads(page: pathlib.Path, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    secret = tmp_path / "secret"
    secret.write_text("a-secret-of-24-bytes-or-more")
    text = page.read_text()
    # What a page shows as a package with plug-ins counts as installed.
    (tmp_path / "x-1.dist-info").mkdir()
    entry_points = "\n".join(found[2] for found in FENCE.finditer(text) if found[1] == "toml").replace('"', "")
    entry_points = entry_points.replace("[project.entry-points.dac.providers]", "[dac.providers]")
    (tmp_path / "x-1.dist-info" / "entry_points.txt").write_text(entry_points)
    monkeypatch.syspath_prepend(tmp_path)
    for number, found in enumerate(FENCE.finditer(text)):
        if found[1] in ("yaml", "yml"):
            check_yaml(
                text[: found.start()], SECRET_FILE.sub(f"{{file: {secret}}}", found[2]), tmp_path / f"{number}.yaml"
            )


def check_yaml(before: str, block: str, file: pathlib.Path) -> None:
    """Raises when a block of YAML is neither DAC's configuration nor, where it says so, values of the chart."""
    if before.endswith(CHART_VALUES):
        values = yaml.safe_load(block)
        values_schema().validate(values)
        block = yaml.safe_dump(values.get("config", {}))
    file.write_text(block)
    load_settings(file, env={})


@functools.cache
def values_schema() -> Any:
    """What the chart's values must be; the chart's own defaults, below what is written, have what is required."""
    schema = json.loads((ROOT / "deploy" / "helm" / "dac" / "values.schema.json").read_text())
    return jsonschema.validators.validator_for(schema)({**schema, "required": []})


@pytest.mark.parametrize("page", PAGES, ids=id_of)
def test_named_files_exist(page: pathlib.Path) -> None:
    named = {one.rstrip("/.") for one in SOURCE.findall(FENCE.sub("", page.read_text()))}
    made = ("deploy/compose/secrets", "services/X")  # Made by deploy/compose/init.sh; any service.
    assert [one for one in named if not one.startswith(made) and not any(ROOT.glob(one))] == []


def test_every_page_is_reached_from_the_readme() -> None:
    reached, waiting = set(), [ROOT / "README.md"]
    while waiting:
        page = waiting.pop()
        if page in reached:
            continue
        reached.add(page)
        for target in LINK.findall(FENCE.sub("", page.read_text())):
            if not re.match(r"[a-z]+:", target) and not target.startswith("#"):
                file = (page.parent / target.partition("#")[0]).resolve()
                file = file / "README.md" if file.is_dir() else file
                waiting += [file] if file.suffix == ".md" and file.exists() else []
    assert [id_of(page) for page in PAGES if page not in reached] == []


def wrong_reasons(text: str) -> list[str]:
    """What troubleshooting says otherwise than the code, leaves out, or says twice."""
    told = [name for name, *_ in REASON.findall(text)]
    wrong = [reason.name for reason in Reason if reason is not Reason.UNSPECIFIED and told.count(reason.name) != 1]
    for name, status, grpc_code, code, body in REASON.findall(text):
        reason = Reason.__members__.get(name)
        if reason is None:
            wrong.append(name)
            continue
        expected = (str(STATUS[reason]), CODES[reason], error_object(MeshError(reason, ""))["code"])
        if (status, grpc_code, code) != expected or ("\nDo" not in body and "| do |" not in body):
            wrong.append(f"{name}: {expected}, and a line that begins with Do")
    return wrong


def test_every_reason_has_its_section_as_the_code_says() -> None:
    assert wrong_reasons((DOCS / "troubleshooting.md").read_text()) == []


def test_wrong_reasons_are_noticed() -> None:
    text = (DOCS / "troubleshooting.md").read_text()
    assert wrong_reasons(text.replace("### TOO_LARGE", "### TOO_LONG")) == ["TOO_LARGE", "TOO_LONG"]
    assert wrong_reasons(text.replace("HTTP 413", "HTTP 414"))[0].startswith("TOO_LARGE: ('413'")


def test_the_errors_shown_are_whole_and_of_their_reason() -> None:
    for name, _, _, code, body in REASON.findall((DOCS / "troubleshooting.md").read_text()):
        for kind, block in FENCE.findall(body):
            if kind == "json":
                error = json.loads(block)["error"]
                assert set(error) == {"message", "type", "param", "code"}, name
                # A refusal of the provider is shown in its own words.
                assert error["code"] == code or name == "PROVIDER_REFUSED", name


def test_the_api_reference_is_fresh(capsys: pytest.CaptureFixture[str], tmp_path: pathlib.Path) -> None:
    assert api_page.main([str(DOCS / "api.md"), "--check"]) == 0, capsys.readouterr().err
    assert api_page.main([str(tmp_path / "api.md"), "--check"]) == 1
    assert api_page.main([]) == 2


def test_the_api_reference_has_every_operation_once() -> None:
    headings = HEADING.findall(FENCE.sub("", (DOCS / "api.md").read_text()))
    document = openapi.document(transcoder.bindings())
    operations = [f"{verb.upper()} {path}" for path, verbs in document["paths"].items() for verb in verbs]
    assert sorted(one for one in headings if " /" in one) == sorted(operations)
    assert len(headings) == len(set(headings))


def test_sizing_is_computed_from_the_figures_that_were_measured() -> None:
    tables = (line.strip("| ").split("|") for line in (DOCS / "benchmarks.md").read_text().splitlines())
    measured = {cells[0].strip(): [cell.strip() for cell in cells[1:]] for cells in tables}
    page = (DOCS / "deployment.md").read_text()
    for system, name in (("DAC, one process", "one process"), ("DAC, split in six", "split in six processes")):
        busy, stream, calm, _, _, memory = measured[system]
        row = next(line for line in page.splitlines() if line.startswith(f"| {name} |"))
        cells = [cell.strip() for cell in row.strip("| ").split("|")]
        assert cells[1:3] == [busy, calm], name
        low, high = re.findall(r"\d+", cells[3])
        assert (int(low), int(high)) == (round(1000 / float(calm), -1), round(1000 / float(busy), -1)), name
        assert cells[4] == f"{12 * float(calm) / 1000:.2f} cores"
        assert f"{stream} CPU-ms in" in page or f", {stream} split" in page
        assert f"{memory} MB" in page and f"{116 * float(calm) / 1000:.1f} " in page


def test_wrong_pages_are_noticed(tmp_path: pathlib.Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("# One\n")
    assert unknown_links(page, "[a](missing.md) [b](page.md#two) [c](page.md#one) [d](https://x.example)") == [
        "missing.md",
        "page.md#two",
    ]
    text = "`dac upp`, `dac key make`, `dac up --spilt`, `dac key list`\n```sh\n.venv/bin/dac serv --target x\n```\n"
    assert unknown_commands(code_of(text)) == ["dac serv", "dac upp", "dac key make", "dac up --spilt"]
    assert ("GET", "/v1/nothing") not in served()
    assert "DAC_HTTP_PROT" not in known_variables()
