"""The wheel holds everything that DAC needs to run, and nothing that runs by itself."""

import hashlib
import pathlib
import subprocess
import sys
import zipfile

import pytest

from mesh.app import ROOT, TARGETS

EPOCH = "1790000000"


def build(folder: pathlib.Path, *, epoch: str | None = EPOCH) -> pathlib.Path:
    """The wheel, made in `folder`."""
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    env = {"PATH": "/usr/bin:/bin"} | ({"SOURCE_DATE_EPOCH": epoch} if epoch else {})
    subprocess.run(command, cwd=ROOT, env=env, check=True, capture_output=True)
    (wheel,) = folder.glob("*.whl")
    return wheel


def sources() -> set[str]:
    """Every file of the packages, by the path it must have in the wheel."""
    found = {"gen/descriptors.binpb"}
    for top, prefix in (("mesh", ROOT), ("services", ROOT), ("config", ROOT), ("gen/dac", ROOT / "gen")):
        for path in (ROOT / top).rglob("*"):
            if path.is_file() and "__pycache__" not in path.parts and not path.name.startswith("."):
                found.add(str(path.relative_to(prefix)))
    return found


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    return build(tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="module")
def names(wheel: pathlib.Path) -> set[str]:
    return set(zipfile.ZipFile(wheel).namelist())


def test_every_file_of_the_packages_is_there(names: set[str]) -> None:
    missing = sources() - names
    assert not missing, f"pyproject.toml, [tool.hatch.build.targets.wheel], leaves out {sorted(missing)}"
    for target in TARGETS:
        folder = ROOT / "services" / target / "migrations"
        assert {f"services/{target}/migrations/{path.name}" for path in folder.glob("*.sql")} <= names


def test_nothing_else_is_there(names: set[str]) -> None:
    rest = {name for name in names if ".dist-info/" not in name} - sources()
    assert not rest


def test_no_file_runs_by_itself_or_is_compiled(names: set[str]) -> None:
    # A .pth file runs code at every start of Python, whether or not the package is imported.
    assert not [name for name in names if name.endswith((".pth", ".pyc", ".so", ".exe", ".sh"))]
    assert not [name for name in names if name in ("sitecustomize.py", "usercustomize.py")]


def test_no_test_and_no_secret_is_there(names: set[str]) -> None:
    assert not [name for name in names if name.startswith(("tests/", "bench/", "docs/", "data/", "deploy/"))]
    assert not [name for name in names if name.endswith((".key", ".token", ".pem", ".env"))]


def test_metadata(wheel: pathlib.Path, names: set[str]) -> None:
    (info,) = {name.split("/")[0] for name in names if ".dist-info/" in name}
    archive = zipfile.ZipFile(wheel)
    metadata = archive.read(f"{info}/METADATA").decode()
    assert "\nLicense-Expression: Apache-2.0\n" in metadata and f"{info}/licenses/LICENSE" in names
    assert "\nRequires-Python: >=3.11\n" in metadata
    assert archive.read(f"{info}/entry_points.txt").decode().split("\n")[:2] == [
        "[console_scripts]",
        "dac = mesh.__main__:main",
    ]
    assert wheel.name.endswith("-py3-none-any.whl")


def test_the_same_source_gives_the_same_bytes(wheel: pathlib.Path, tmp_path: pathlib.Path) -> None:
    def digest(path: pathlib.Path) -> str:
        return hashlib.sha256(path.read_bytes()).hexdigest()

    (tmp_path / "again").mkdir()
    (tmp_path / "later").mkdir()
    assert digest(build(tmp_path / "again")) == digest(wheel)
    assert digest(build(tmp_path / "later", epoch="1790000060")) != digest(wheel), "the test cannot see a difference"
