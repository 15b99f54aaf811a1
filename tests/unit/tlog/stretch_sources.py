"""Logs in memory that processes of their own can read: what they are given has to be importable."""

from __future__ import annotations

import dataclasses
import os
import random
import signal
from collections.abc import Iterator

from bench.audit import tamper
from mesh.tlog.side_by_side import NoStretches

SIZE = 1500


def log() -> tamper.StoredLog:
    """The same log in every process."""
    return tamper.build(random.Random(8), SIZE)


@dataclasses.dataclass(frozen=True)
class Whole:
    """A log in stretches; `fault` is what happens where entry 512 is asked for."""

    fault: str = ""

    def __call__(self, first: int, end: int) -> Iterator[bytes]:
        """The frames."""
        stream = b"".join(log().part(first, end))
        if self.fault and first <= 512 < end:
            if self.fault == "killed":
                os.kill(os.getpid(), signal.SIGKILL)
            elif self.fault == "earlier version":
                raise NoStretches("it has no field first")
            elif self.fault == "cut off":
                stream = stream[:-40]
            elif self.fault == "whole log":
                stream = log().stream()
            elif self.fault == "another stretch":
                stream = b"".join(log().part(0, end - first))
            elif self.fault == "short":
                stream = stream[:17] + stream[-17:]
        for at in range(0, len(stream), 5003):
            yield stream[at : at + 5003]
