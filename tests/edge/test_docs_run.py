"""Every shell block of README.md and docs/ is run, in order, as a reader would; a block that is not says why.

A page is one bash script in a scratch folder with a `.venv` and, mostly, a running DAC. Ports of the text become real
ones, `curl` fails on a refused request, and what does not end by itself is started, awaited and stopped. Only exit
codes count; what a page shows as output is not compared.
"""

import asyncio
import dataclasses
import os
import pathlib
import re
import signal
import subprocess
import sys
from collections.abc import Iterator

import asyncpg
import pytest

from mesh.app import ROOT
from mesh.embedded import EmbeddedPostgres
from tests import programs
from tests.edge.conftest import Dac, UpstreamProcess, make_dac
from tests.ports import free_port
from tests.prepared import server_in

PAGES = [ROOT / "README.md", ROOT / "SECURITY.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
BLOCK = re.compile(
    r"(?:^<!-- (?P<mark>[^\n]*) -->\n)?^```(?P<kind>sh|bash|shell|console|python)\n(?P<text>.*?)^```$", re.M | re.S
)
PAGE_MARK = re.compile(r"^<!-- not run, the whole page: (.+) -->$", re.M)
NOT_RUN = "not run: "
PAGE_S = 90
pytestmark = pytest.mark.timeout(150)
STARTS_DAC = re.compile(r"^((?:[A-Z_]+=\S+ )*)(make run|\.venv/bin/dac (?:up|serve)\b.*)$")
"""Lines that go on until they are stopped: they are started, awaited, and stopped when the page has ended."""
INSTEAD = {"make test": f"make -C {ROOT} -n test > make.txt"}
"""Lines that stand for something that CI does elsewhere: what is run in their place."""
OWN_START = {"README.md", "docs/quickstart.md"}
"""Pages whose own text starts DAC; the others find one running."""
COLD = {"README.md"}
"""Pages that run the installed `dac`; the others' is a fork of one that has imported all of it."""
RUNS, OWNS = "postgresql://dac@db/dac", "postgresql://dac_owner@db/dac"
NAME = re.compile(rf"(?<![\d.])(?:8000|8010|8443|50051|50061)(?!\d)|{RUNS}|{OWNS}")
"""Ports and databases of the text that become real ones."""
KEY = "dac_live_…"

PRELUDE = r"""
set -euo pipefail
stop_all() { for pid in $(jobs -p); do kill -TERM "$pid" 2>/dev/null || true; done; wait; }
trap stop_all EXIT
background() { # PORT COMMAND...
  local port=$1 log="background.$1.log"
  shift
  "$@" > "$log" 2>&1 &
  local pid=$!
  for _ in $(seq 400); do
    curl -s -o ready.json "http://127.0.0.1:$port/ready" 2> /dev/null && return 0
    kill -0 "$pid" 2>/dev/null || { cat "$log" >&2; return 1; }
    sleep 0.1
  done
  cat "$log" >&2
  return 1
}
"""


@dataclasses.dataclass(frozen=True)
class Block:
    """One block of a page."""

    kind: str
    text: str
    mark: str
    """The comment above it; empty = none."""
    line: int

    @property
    def is_run(self) -> bool:
        """Whether it is to be run."""
        return not self.mark.startswith("not run")


def blocks_of(text: str) -> list[Block]:
    """The blocks of a page that a reader would run."""
    whole = PAGE_MARK.search(text)
    found = []
    for one in BLOCK.finditer(text):
        mark = NOT_RUN + whole[1] if whole else one["mark"] or ""
        found.append(Block(one["kind"], one["text"], mark, text.count("\n", 0, one.start("kind")) + 1))
    return found


def name_of(page: pathlib.Path) -> str:
    """A page's path in the repository."""
    return page.relative_to(ROOT).as_posix()


def as_run(line: str, ports: dict[str, str], *, own: bool) -> str:
    """A line as the test runs it. What it starts beside a running DAC gets ports and a data folder of its own."""
    bare = line.split("  #")[0].strip()
    if bare in INSTEAD:
        return INSTEAD[bare]
    found = STARTS_DAC.match(bare)
    if found is None:
        return line
    settings, command = found[1], found[2].replace("make run", ".venv/bin/dac up")
    given = re.search(r"DAC_HTTP_PORT=(\d+)", settings)
    port = given[1] if given else ports["8000"] if own else str(free_port())
    if not own and not given:
        settings += f"DAC_HTTP_PORT={port} DAC_GRPC_PORT={free_port()} DAC_DATA_DIR=data.{port} "
    return f"background {port} env {settings}{command}"


def script_of(blocks: list[Block], ports: dict[str, str], *, own: bool = False) -> str:
    """The page as one script; standard error tells which block was begun."""
    parts = [PRELUDE]
    for block in blocks:
        text = NAME.sub(lambda found: ports[found[0]], block.text)
        parts.append(f"echo '== the block in line {block.line}' >&2")
        if block.kind == "python":
            program = text.replace(f'"{KEY}"', "__import__('os').environ['DAC_API_KEY']")
            parts.append(f".venv/bin/python - <<'END_OF_BLOCK'\n{program}\nEND_OF_BLOCK")
        else:
            parts += [as_run(line, ports, own=own) for line in text.splitlines()]
    return "\n".join(parts) + "\n"


RUN = [page for page in PAGES if any(block.is_run for block in blocks_of(page.read_text()))]


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory, upstream_process: UpstreamProcess) -> Iterator[Dac]:
    """The DAC that most pages find running."""
    running = make_dac(tmp_path_factory.mktemp("pages"), upstream_process)  # type: ignore[arg-type]
    running.start()
    yield running
    assert running.stop() == 0, running.log()


@pytest.fixture(scope="module")
def postgres_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedPostgres]:
    """A server of its own: roles belong to a whole server, and a login may only grant those that it made."""
    server = server_in(tmp_path_factory.mktemp("pg"))
    server.start()
    yield server
    server.stop()


@pytest.fixture(scope="module")
def databases(postgres_server: EmbeddedPostgres) -> dict[str, str]:
    """A PostgreSQL "of yours": the addresses of the text → an empty database's, with a login each to run and to own."""
    # As in deploy/compose/postgres/10-dac.sql, under names that no other test of this process uses.
    statements = (
        "CREATE ROLE pages_owner LOGIN CREATEROLE PASSWORD 'pw'",
        "CREATE ROLE pages LOGIN NOINHERIT PASSWORD 'pw'",
        "CREATE DATABASE pages OWNER pages_owner",
    )

    async def go() -> None:
        connection = await asyncpg.connect(postgres_server.superuser_dsn)
        for statement in statements:
            await connection.execute(statement)
        await connection.close()

    asyncio.run(go())
    server = postgres_server
    return {RUNS: f"'{server.dsn('pages', 'pw', 'pages')}'", OWNS: f"'{server.dsn('pages_owner', 'pw', 'pages')}'"}


def environment(folder: pathlib.Path, installed: pathlib.Path, *, cold: bool) -> list[int]:
    """A page's `.venv`; returns the descriptors that its `dac` inherits."""
    if cold:
        folder.symlink_to(installed)
        return []
    (folder / "bin").mkdir(parents=True)
    for source in (*(one for one in installed.iterdir() if one.name != "bin"), *(installed / "bin").iterdir()):
        (folder / source.relative_to(installed)).symlink_to(source)
    (folder / "bin" / "dac").unlink()
    return [programs.command(folder / "bin" / "dac")]


def prepared(
    folder: pathlib.Path, dac: Dac, *, own: bool, cold: bool = False
) -> tuple[dict[str, str], dict[str, str], list[int]]:
    """A reader's folder; returns the environment, the ports of the text → real ones, and descriptors to inherit."""
    installed = ROOT / ".venv" if (ROOT / ".venv").exists() else pathlib.Path(sys.prefix)
    inherited = environment(folder / ".venv", installed, cold=cold)
    tools = folder / ".tools"
    tools.mkdir()
    (tools / "curl").write_text('#!/bin/sh\nPATH=${PATH#*:} exec curl --fail-with-body --max-time 30 "$@"\n')
    (tools / "curl").chmod(0o755)
    env = {**dac.env, "PATH": f"{tools}:{os.environ['PATH']}", "DAC_API_KEY": dac.key, "HOME": str(folder)}
    env.pop("DAC_DATA_DIR")
    ports = {name: str(free_port()) for name in ("8010", "8443", "50061")}
    if own:
        ports |= {"8000": str(free_port()), "50051": str(free_port())}
        env |= {"DAC_CONFIG": str(dac.config), "DAC_HTTP_PORT": ports["8000"], "DAC_GRPC_PORT": ports["50051"]}
    else:
        (folder / "data").symlink_to(dac.data_dir)
        (folder / "protos").symlink_to(ROOT / "protos")
        ports |= {"8000": dac.url.rpartition(":")[2], "50051": dac.grpc_address.rpartition(":")[2]}
    return env, ports, inherited


def run(script: str, folder: pathlib.Path, env: dict[str, str], inherited: list[int]) -> tuple[int, str]:
    """Runs it; returns the exit code and the end of what it said. Nothing that it started is left."""
    (folder / "page.sh").write_text(script)
    log = (folder / "page.log").open("wb")
    process = subprocess.Popen(
        ["bash", "page.sh"],
        cwd=folder,
        env=env,
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=log,
        pass_fds=inherited,
        start_new_session=True,
    )
    try:
        code = process.wait(PAGE_S)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGTERM)
            process.wait(30)
    return code, (folder / "page.log").read_text(errors="replace")[-4000:]


@pytest.mark.parametrize("page", RUN, ids=name_of)
def test_the_blocks_of_a_page_work(
    page: pathlib.Path, shared: Dac, tmp_path: pathlib.Path, request: pytest.FixtureRequest
) -> None:
    own, text = name_of(page) in OWN_START, page.read_text()
    env, ports, inherited = prepared(tmp_path, shared, own=own, cold=name_of(page) in COLD)
    if RUNS in text:
        ports |= request.getfixturevalue("databases")
    code, said = run(
        script_of([one for one in blocks_of(text) if one.is_run], ports, own=own), tmp_path, env, inherited
    )
    assert code == 0, f"{name_of(page)}: exit code {code}\n{said}"


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_a_mark_gives_its_reason(page: pathlib.Path) -> None:
    for block in blocks_of(page.read_text()):
        if not block.is_run:
            assert len(block.mark.removeprefix(NOT_RUN)) > 10, f"{name_of(page)}:{block.line}: say why it is not run"


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_no_block_escapes(page: pathlib.Path) -> None:
    """Every fence of a language that is run is found by BLOCK, and every mark stands right above one."""
    text = page.read_text()
    fences = re.findall(r"^\s*(?:```|~~~)\s*(?:sh|bash|shell|console|python|zsh|shell-session)\b", text, re.M)
    assert len(fences) == len(blocks_of(text)), f"{name_of(page)}: a block is indented or fenced in another way"
    marks = len(re.findall(r"^<!-- not run: ", text, re.M))
    assert marks == sum(block.mark.startswith(NOT_RUN) for block in blocks_of(text)) or PAGE_MARK.search(text)


def test_a_wrong_block_is_noticed(shared: Dac, tmp_path: pathlib.Path) -> None:
    text = (
        "<!-- not run: it needs a thing that is not here -->\n```sh\nexit 7\n```\n"
        "```sh\nA=1\n```\n\n```sh\ntest $A = 1\ncurl -s http://127.0.0.1:8000/v1/nothing\n```\n"
    )
    blocks = blocks_of(text)
    assert [block.is_run for block in blocks] == [False, True, True]
    env, ports, inherited = prepared(tmp_path, shared, own=False)
    code, said = run(script_of([block for block in blocks if block.is_run], ports), tmp_path, env, inherited)
    assert code == 22 and "== the block in line 9" in said


def test_what_goes_on_is_started_and_awaited() -> None:
    ports = {"8000": "1234"}
    assert as_run("make run     # starts it", ports, own=True) == "background 1234 env .venv/bin/dac up"
    beside = as_run("A=b .venv/bin/dac serve --target all", ports, own=False)
    assert re.fullmatch(
        r"background (\d+) env A=b DAC_HTTP_PORT=\1 DAC_GRPC_PORT=\d+ DAC_DATA_DIR=data\.\1 "
        r"\.venv/bin/dac serve --target all",
        beside,
    )
    named = "DAC_HTTP_PORT=4321 .venv/bin/dac up --data-dir x"
    assert as_run(named, ports, own=False) == f"background 4321 env {named}"
    assert as_run("echo dac up", ports, own=False) == "echo dac up"
    # `make run` is what is run in its place.
    assert "dac up" in subprocess.run(["make", "-C", str(ROOT), "-n", "run"], capture_output=True, text=True).stdout
