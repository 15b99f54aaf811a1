"""The load generator as a child process of the benchmark, outside every measured process tree."""

from __future__ import annotations

import contextlib
import queue
import subprocess
import sys
import threading
from collections.abc import Iterator

import msgspec

from bench.load import Result, Spec
from bench.systems import ROOT


class LoadProcess:
    """The load generator in its own process, one specification after the other."""

    def __init__(self) -> None:
        command = [sys.executable, "-m", "bench.load"]
        self._process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self._lines: queue.Queue[str] = queue.Queue()
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._lines.put(line)
        self._lines.put("")

    def run(self, spec: Spec) -> Result:
        """Carry out one specification; bounded in time."""
        assert self._process.stdin is not None
        self._process.stdin.write(msgspec.json.encode(spec).decode() + "\n")
        self._process.stdin.flush()
        line = self._lines.get(timeout=spec.seconds + spec.drain_s + 30)
        if not line:
            raise RuntimeError("the load generator ended; its message stands above")
        return msgspec.json.decode(line, type=Result)

    def close(self) -> None:
        self._process.kill()
        self._process.wait(timeout=5)


@contextlib.contextmanager
def load_process() -> Iterator[LoadProcess]:
    """A load generator that is gone afterwards."""
    load = LoadProcess()
    try:
        yield load
    finally:
        load.close()
