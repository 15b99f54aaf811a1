"""A witness of the audit log as people run it: `dac audit witness` in a process of its own."""

from __future__ import annotations

import pathlib
import signal
import subprocess
import sys

import httpx

from mesh.tlog.cosignatures import witness_key
from mesh.tlog.notes import VerifierKey
from services.audit.config import WitnessAt
from tests.integration.audit.log_world import KEY
from tests.ports import LOOPBACK, free_port


class Process:
    """`dac audit witness`."""

    def __init__(self, folder: pathlib.Path, log: VerifierKey = KEY) -> None:
        self.folder, self.log = folder, log
        self.port = free_port()
        self.url = f"http://{LOOPBACK}:{self.port}"
        self.start()

    def start(self) -> None:
        """Starts it and waits until it answers."""
        options = ["--data", str(self.folder), "--log", str(self.log), "--listen", f"{LOOPBACK}:{self.port}"]
        self.running = subprocess.Popen(
            [sys.executable, "-m", "mesh", "audit", "witness", *options], stdout=subprocess.PIPE, text=True
        )
        assert self.running.stdout is not None
        self.key = witness_key(self.running.stdout.readline().removeprefix("witness "))
        while True:
            try:
                httpx.get(self.url)
                return
            except httpx.TransportError:
                assert self.running.poll() is None

    def stop(self, how: int = signal.SIGTERM) -> None:
        """Ends it."""
        self.running.send_signal(how)
        self.running.wait(20)

    def post(self, body: bytes) -> httpx.Response:
        """Asks it."""
        return httpx.post(f"{self.url}/add-checkpoint", content=body)

    def get(self, path: str) -> httpx.Response:
        """Reads from it."""
        return httpx.get(self.url + path)

    @property
    def at(self) -> WitnessAt:
        """As the configuration has it."""
        return WitnessAt(self.url, self.key)
