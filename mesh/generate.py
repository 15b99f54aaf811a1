"""Generates gen/ from protos/: messages, stubs, their types, and one descriptor set. `--check` only compares.

Run as `python -m mesh.generate gen [--check]`; needs the development dependencies.
"""

import filecmp
import pathlib
import shutil
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parent.parent
SERVED = ["dac/envoy/v3/ratelimit.proto", "dac/envoy/v3/rls.proto"]
"""Contracts of others that DAC serves. Below a folder of ours, because Python packages are named by folders."""


def _source_of(name: str) -> pathlib.Path:
    own = ROOT / "protos" / name
    return own if own.exists() else ROOT / "protos/vendor" / name


def generate(out: pathlib.Path) -> None:
    """Writes everything below `out`, which must be empty."""
    protos = sorted(str(path.relative_to(ROOT / "protos")) for path in (ROOT / "protos/dac").rglob("*.proto"))
    protos += SERVED
    services = [name for name in protos if "\nservice " in _source_of(name).read_text()]
    plugin = pathlib.Path(sys.executable).parent / "protoc-gen-mypy_grpc"
    protoc = [sys.executable, "-m", "grpc_tools.protoc", "-Iprotos", "-Iprotos/vendor"]
    for arguments in (
        [f"--python_out={out}", f"--pyi_out={out}", *protos],
        [
            f"--grpc_python_out={out}",
            f"--plugin=protoc-gen-mypy_grpc={plugin}",
            f"--mypy_grpc_out=quiet:{out}",
            *services,
        ],
        [
            "--include_imports",
            "--include_source_info",
            f"--descriptor_set_out={out}/descriptors.binpb",
            *protos,
            "google/rpc/error_details.proto",
        ],
    ):
        subprocess.run([*protoc, *arguments], cwd=ROOT, check=True)
    for folder in out.glob("dac/*/v[0-9]"):
        (folder / "py.typed").touch()


def files_below(folder: pathlib.Path) -> set[str]:
    """Relative paths of all generated files."""
    found = (path for path in folder.rglob("*") if path.is_file() and "__pycache__" not in path.parts)
    return {str(path.relative_to(folder)) for path in found}


def main(target: pathlib.Path, *, check: bool) -> int:
    """Brings `target` up to date, or says what is not; returns the exit code."""
    with tempfile.TemporaryDirectory() as made:
        fresh = pathlib.Path(made)
        generate(fresh)
        new, old = files_below(fresh), files_below(target)
        stale = sorted(old - new) + sorted(
            name for name in new if name not in old or not filecmp.cmp(fresh / name, target / name, shallow=False)
        )
        if check:
            for name in stale:
                print(f"not fresh: {target.name}/{name} (run: make proto)")
            return 1 if stale else 0
        for name in old - new:
            (target / name).unlink()
        for name in new & set(stale):
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(fresh / name, target / name)
        print(f"{len(stale)} files written below {target.name}/")
        return 0


if __name__ == "__main__":
    sys.exit(main(ROOT / sys.argv[1], check="--check" in sys.argv))
