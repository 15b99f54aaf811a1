"""The Dockerfile without an engine: read into steps, and its build stage run in a folder instead of an image."""

import contextlib
import dataclasses
import fnmatch
import os
import pathlib
import re
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence

import httpx

from mesh.embedded import _run_as

ROOT = pathlib.Path(__file__).resolve().parents[2]
DOCKERFILE = ROOT / "Dockerfile"
IMAGE_FOLDERS = ("/opt/build", "/opt/dac", "/opt/wheel")
"""What the build stage writes outside of its working folder."""


@dataclasses.dataclass(frozen=True)
class Step:
    """One instruction."""

    stage: str
    verb: str
    argument: str


def read_steps(text: str) -> list[Step]:
    """The instructions in order; comments and line breaks are gone."""
    lines = [line for line in text.splitlines() if not line.lstrip().startswith("#")]
    joined = re.sub(r"\\\n\s*", " ", "\n".join(lines))
    steps, stage = [], ""
    for line in filter(None, map(str.strip, joined.splitlines())):
        verb, _, argument = line.partition(" ")
        if verb == "FROM":
            stage = argument.split(" AS ")[1]
        steps.append(Step(stage, verb, " ".join(argument.split())))
    return steps


def steps_of(stage: str, verb: str) -> list[str]:
    """The arguments of one stage's instructions of one kind."""
    return [step.argument for step in read_steps(DOCKERFILE.read_text()) if (step.stage, step.verb) == (stage, verb)]


def environment() -> dict[str, str]:
    """What the final stage sets with ENV."""
    pairs = (part.partition("=") for argument in steps_of("dac", "ENV") for part in shlex.split(argument))
    return {name: value for name, _, value in pairs}


def is_ignored(path: str, patterns: Sequence[str]) -> bool:
    """Whether .dockerignore keeps `path` out of the build: the last pattern that fits it or a parent decides."""
    ignored = False
    parents = [path, *(str(parent) for parent in pathlib.PurePosixPath(path).parents if str(parent) != ".")]
    for pattern in patterns:
        wanted = pattern.removeprefix("!").rstrip("/")
        tails = [wanted, wanted.removeprefix("**/")] if wanted.startswith("**/") else [wanted]
        if any(fnmatch.fnmatch(one, tail) for one in parents for tail in tails):
            ignored = not pattern.startswith("!")
    return ignored


def ignore_patterns() -> list[str]:
    """The lines of .dockerignore."""
    lines = (ROOT / ".dockerignore").read_text().splitlines()
    return [line.strip() for line in lines if line.strip() and not line.startswith("#")]


@dataclasses.dataclass
class Build:
    """A build stage whose absolute folders lie below `root`."""

    root: pathlib.Path

    def at(self, path: str) -> pathlib.Path:
        """Where a path of the image is here."""
        return self.root / path.lstrip("/")

    def copy(self) -> None:
        """The COPY instructions of the build stage, as .dockerignore lets them."""
        patterns, source = ignore_patterns(), self.at("/src")

        def skip(folder: str, names: list[str]) -> list[str]:
            here = pathlib.Path(folder).relative_to(ROOT)
            return [name for name in names if is_ignored(str(here / name), patterns)]

        for argument in steps_of("build", "COPY"):
            *names, target = argument.split()
            for name in names:
                if (ROOT / name).is_dir():
                    shutil.copytree(ROOT / name, source / target, ignore=skip, dirs_exist_ok=True)
                else:
                    (source / target).mkdir(parents=True, exist_ok=True)
                    shutil.copy(ROOT / name, source / target)

    def run(self, command: str, **env: str) -> None:
        """One RUN instruction."""
        programs = self.root / "programs"
        programs.mkdir(exist_ok=True)
        python = programs / "python"
        python.write_text(f'#!/bin/sh\nexec "{os.path.realpath(sys.executable)}" "$@"\n')
        python.chmod(0o755)
        for folder in IMAGE_FOLDERS:
            command = re.sub(rf"(?<![\w/]){re.escape(folder)}\b", str(self.at(folder)), command)
        clean = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "DAC_"))}
        done = subprocess.run(
            ["/bin/sh", "-c", command],
            cwd=self.at("/src"),
            env={**clean, "PATH": f"{programs}:/usr/bin:/bin", "PIP_DISABLE_PIP_VERSION_CHECK": "1", **env},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, f"{command}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"


def unprivileged() -> list[str]:
    """argv prefix under which root is an ordinary user; nothing for an ordinary user."""
    prefix, _ = _run_as()
    return prefix


def lock(folder: pathlib.Path) -> None:
    """Takes every right to write in `folder` away, as a read-only root file system does."""
    subprocess.run(["chmod", "-R", "a-w", str(folder)], check=True)


def unlock(folder: pathlib.Path) -> None:
    """Gives the owner's right back, so that the folder can be removed."""
    subprocess.run(["chmod", "-R", "u+w", str(folder)], check=True)


@contextlib.contextmanager
def running(
    command: Sequence[str], env: Mapping[str, str], log: pathlib.Path, url: str, *, cwd: pathlib.Path
) -> Iterator[subprocess.Popen[bytes]]:
    """A DAC that is ready at `url`; ended by SIGTERM, which must end it with 0."""
    with log.open("wb") as out:
        process = subprocess.Popen(command, env=dict(env), cwd=cwd, stdin=subprocess.DEVNULL, stdout=out, stderr=out)
    try:
        wait_ready(url, process, log)
        yield process
        process.terminate()
        assert process.wait(30) == 0, log.read_text()[-4000:]
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()


def wait_ready(url: str, process: subprocess.Popen[bytes], log: pathlib.Path, timeout_s: float = 90) -> None:
    """Returns when `url` is ready; fails with the log when the process ends or takes too long."""
    end = time.monotonic() + timeout_s
    while True:
        assert process.poll() is None, log.read_text()[-4000:]
        assert time.monotonic() < end, f"not ready:\n{log.read_text()[-4000:]}"
        with contextlib.suppress(httpx.HTTPError):
            if httpx.get(f"{url}/ready", timeout=2).status_code == 200:
                return
        time.sleep(0.05)


def children_of(pid: int) -> list[int]:
    """The processes that `pid` started and that still run."""
    return [int(one) for one in pathlib.Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def ask(url: str, key: str) -> str:
    """One chat with the embedded model; returns what it said."""
    end = time.monotonic() + 30
    while True:
        answer = httpx.post(
            f"{url}/v1/chat/completions",
            headers={"authorization": f"Bearer {key}"},
            json={
                "model": "local/smollm2-135m",
                "messages": [{"role": "user", "content": "What is the capital of France? Answer in one sentence."}],
                "max_tokens": 20,
            },
            timeout=30,
        )
        # The model is loaded in the background.
        if answer.status_code == 200 or time.monotonic() > end:
            assert answer.status_code == 200, answer.text
            return str(answer.json()["choices"][0]["message"]["content"])
        time.sleep(0.1)
