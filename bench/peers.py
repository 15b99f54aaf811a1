"""Installs the peers that are measured beside DAC, at pinned versions, each in a folder of its own.

`python -m bench.peers install [litellm] [portkey]` · `python -m bench.peers list`
"""

from __future__ import annotations

import argparse
import json
import pathlib
import shutil
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
LITELLM_VENV = ROOT / ".venv-bench-litellm"
LITELLM_PIN = "litellm[proxy]==1.106.2"
PORTKEY_HOME = ROOT / "bench" / ".peers" / "portkey"
PORTKEY_PACKAGE = {
    "private": True,
    "dependencies": {"@portkey-ai/gateway": "1.15.2"},
    # Later versions of these two answer 500 to every stream on Node 20.
    "overrides": {"@hono/node-server": "1.13.8", "hono": "4.9.7"},
}
PORTKEY_SERVER = PORTKEY_HOME / "node_modules" / "@portkey-ai" / "gateway" / "build" / "start-server.js"


def litellm_version() -> str | None:
    """The installed LiteLLM, or None."""
    found = sorted(LITELLM_VENV.glob("lib/python3*/site-packages/litellm-*.dist-info"))
    if not found or not (LITELLM_VENV / "bin" / "litellm").exists():
        return None
    return found[-1].name.removeprefix("litellm-").removesuffix(".dist-info")


def portkey_version() -> str | None:
    """The installed Portkey gateway, or None."""
    if not PORTKEY_SERVER.exists() or shutil.which("node") is None:
        return None
    package = json.loads((PORTKEY_SERVER.parent.parent / "package.json").read_text())
    return str(package["version"])


def install_litellm() -> None:
    """Into `.venv-bench-litellm` (about 750 MB)."""
    if not (LITELLM_VENV / "bin" / "python").exists():
        subprocess.run([sys.executable, "-m", "venv", str(LITELLM_VENV)], check=True)
    (LITELLM_VENV / ".gitignore").write_text("*\n")
    pip = [str(LITELLM_VENV / "bin" / "python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*pip, LITELLM_PIN], check=True, timeout=1200)


def install_portkey() -> None:
    """Into `bench/.peers/portkey` (about 25 MB); needs Node and npm."""
    npm = shutil.which("npm")
    if npm is None:
        raise SystemExit("npm is missing: install Node 20 or later to measure Portkey, or leave it out")
    PORTKEY_HOME.mkdir(parents=True, exist_ok=True)
    (PORTKEY_HOME / "package.json").write_text(json.dumps(PORTKEY_PACKAGE, indent=2) + "\n")
    subprocess.run([npm, "install", "--no-audit", "--no-fund", "--silent"], cwd=PORTKEY_HOME, check=True, timeout=600)


PEERS = {"litellm": (install_litellm, litellm_version), "portkey": (install_portkey, portkey_version)}


def main() -> None:
    parser = argparse.ArgumentParser(description="Install or list the peers of the side-by-side benchmarks.")
    parser.add_argument("action", choices=["install", "list"])
    parser.add_argument("peer", nargs="*", help=f"some of: {', '.join(PEERS)} (default: all)")
    options = parser.parse_args()
    for name in options.peer or list(PEERS):
        if name not in PEERS:
            raise SystemExit(f"there is no peer {name!r}; known are {', '.join(PEERS)}")
        install, version = PEERS[name]
        if options.action == "install" and version() is None:
            print(f"installing {name} …", file=sys.stderr)
            install()
        print(f"{name}: {version() or 'not installed'}")


if __name__ == "__main__":
    main()
