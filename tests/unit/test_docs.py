"""The pages hold to the code: links, HTTP paths, commands, variables and configuration that they mention exist."""

import dataclasses
import pathlib
import re
from collections.abc import Iterable, Iterator
from typing import Any
from unittest.mock import MagicMock

import pytest
import typer.main

from mesh.app import ROOT, TARGETS, load_settings
from mesh.catalog import KNOWN
from mesh.cli import app
from mesh.config import MeshConfig
from services.gateway import openapi, transcoder
from services.gateway.pages import Pages

DOCS = ROOT / "docs"
SERVICE_PAGES = [DOCS / f"{name}.md" for name in TARGETS]
PAGES = [ROOT / "README.md", *sorted(DOCS.glob("*.md"))]
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.M | re.S)
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
PATH = re.compile(r"\b(GET|POST|PUT|DELETE|PATCH) (/[\w/{}:.\-]*)")
COMMAND = re.compile(r"(?:^|[\s`/])dac ((?:[a-z][a-z-]*)(?: [a-z][a-z-]*)?)", re.M)
CODE = re.compile(r"`([^`\n]+)`")
FLAG = re.compile(r"(?<![\w-])--[a-z][a-z-]*")
VARIABLE = re.compile(r"\bDAC_[A-Z][A-Z0-9_]*\b")
SECRET_FILE = re.compile(r"\{file: [^}]*\}")
HEADING = re.compile(r"^#+ (.+)$", re.M)


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


def unknown_links(page: pathlib.Path, text: str) -> list[str]:
    """Relative links that lead nowhere."""
    wrong = []
    for target in LINK.findall(FENCE.sub("", text)):
        if re.match(r"[a-z]+:", target):
            continue
        name, _, anchor = target.partition("#")
        file = (page.parent / name).resolve() if name else page
        anchors = (
            {anchor_of(heading) for heading in HEADING.findall(file.read_text())} if file.is_file() and anchor else {""}
        )
        if not file.exists() or anchor not in anchors:
            wrong.append(target)
    return wrong


def unknown_commands(lines: Iterable[str]) -> list[str]:
    """`dac …` that the program does not have, with flags that the command does not have."""
    root: Any = typer.main.get_command(app)
    wrong = []
    for line in lines:
        for found in COMMAND.finditer(line):
            words = found[1].split()
            command = root.commands.get(words[0])
            if hasattr(command, "commands"):
                command = command.commands.get(words[1]) if len(words) > 1 else None
            if command is None:
                wrong.append(f"dac {found[1]}")
                continue
            known = {name for one in command.params for name in one.opts}
            rest = re.split(r"[`|;]|\s#", line[found.end() :])[0]
            wrong += [f"dac {found[1]} {flag}" for flag in FLAG.findall(rest) if flag not in known]
    return wrong


def known_variables() -> set[str]:
    """DAC_* of the configuration and of the code."""
    names = set()
    classes: dict[str, type[Any]] = {"mesh": MeshConfig, **{name: one.config_class() for name, one in TARGETS.items()}}
    for name, cls in classes.items():
        for field in dataclasses.fields(cls):
            names.add(field.metadata.get("env", f"DAC_{name}_{field.name}".upper()))
    for folder in ("mesh", "services"):
        for file in (ROOT / folder).rglob("*.py"):
            names.update(re.findall(r'["\'](DAC_[A-Z0-9_]+)["\']', file.read_text()))
    return names | {one.env for one in KNOWN.values()}


@pytest.mark.parametrize("page", PAGES, ids=id_of)
def test_links_resolve(page: pathlib.Path) -> None:
    assert unknown_links(page, page.read_text()) == []


@pytest.mark.parametrize("page", [*SERVICE_PAGES, DOCS / "mesh.md", DOCS / "telemetry.md"], ids=id_of)
def test_paths_are_served(page: pathlib.Path) -> None:
    paths, text = served(), page.read_text()
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
def test_yaml_loads(page: pathlib.Path, tmp_path: pathlib.Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("a-secret")
    for number, (kind, block) in enumerate(FENCE.findall(page.read_text())):
        if kind == "yaml":
            file = tmp_path / f"{number}.yaml"
            file.write_text(SECRET_FILE.sub(f"{{file: {secret}}}", block))
            load_settings(file, env={})


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
