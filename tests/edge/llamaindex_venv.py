"""An environment of LlamaIndex's own: its OpenAI package does not install beside the `openai` that the tests use.

Kept in the user's cache folder, one for each list of pins and each Python. `python -m tests.edge.llamaindex_venv` makes
it ahead of the tests; `make setup` does that.
"""

import hashlib
import os
import pathlib
import platform
import shutil
import subprocess
import sys

from tests.downloads import cached

PINS = pathlib.Path(__file__).parent / "recipes" / "llamaindex.txt"
BUILD_S = 240
OPENED = "import llama_index.embeddings.openai_like, llama_index.llms.openai_like"
UNREACHABLE = ("Retrying (Retry(", "Could not fetch URL")
"""What pip says when nobody answers; that a version is missing it says in other words."""


class Unreachable(Exception):
    """No index of packages answers."""


def python() -> pathlib.Path:
    """The Python that has LlamaIndex; made when it is not there yet. Raises Unreachable."""
    made_of = f"{sys.version} {sys.base_prefix} {platform.machine()}".encode() + PINS.read_bytes()
    whole = cached(f"llamaindex-{hashlib.sha256(made_of).hexdigest()[:16]}", "whole", _make)
    return whole.parent / "venv" / "bin" / "python"


def _make(whole: pathlib.Path) -> None:
    venv = whole.parent / "venv"
    # What was left by one who was ended.
    shutil.rmtree(venv, ignore_errors=True)
    _run("-m", "venv", "--without-pip", str(venv))
    # The list is whole (--no-deps). The import below compiles the few modules that are used.
    packages = ("--only-binary", ":all:", "--no-deps", "--no-compile", "--retries", "2", "-r", str(PINS))
    pip = ("-m", "pip", "--python", str(venv / "bin" / "python"))
    _run(*pip, "install", "-q", "--disable-pip-version-check", *packages)
    _run("-c", OPENED, program=venv / "bin" / "python")
    whole.touch()


def _run(*arguments: str, program: pathlib.Path = pathlib.Path(sys.executable)) -> None:
    # A path or a rule of the caller's own would get into the environment.
    env = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    command = [str(program), *arguments]
    try:
        done = subprocess.run(command, capture_output=True, text=True, env=env, timeout=BUILD_S)
    except subprocess.TimeoutExpired as error:
        raise Unreachable(f"LlamaIndex was not installed in {BUILD_S} s") from error
    if done.returncode and any(words in done.stderr for words in UNREACHABLE):
        raise Unreachable(f"pip reaches no packages of LlamaIndex: {done.stderr.strip()[-300:]}")
    if done.returncode:
        raise RuntimeError(f"LlamaIndex could not be set up: {' '.join(command)}\n{done.stderr[-2000:]}")


if __name__ == "__main__":
    try:
        python()
    except Unreachable as error:
        sys.exit(str(error))
