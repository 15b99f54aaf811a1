"""Ports for the servers that tests start: no two tests of a run are told the same, however many processes run them."""

import fcntl
import os
import pathlib
import socket
import tempfile

FIRST, LAST = 10_000, 32_000
"""Below those that the system gives to outgoing connections."""
LOOPBACK = "127.0.0.1"


def free_port() -> int:
    """A port nobody has, and that nobody else is told for the next twenty thousand."""
    return free_ports(1)


def free_ports(count: int) -> int:
    """The first of `count` such ports in a row."""
    # Asking the system alone is not enough: what was picked here is bound a second later, and picked there meanwhile.
    place = pathlib.Path(tempfile.gettempdir()) / f"dac-test-ports-{os.getuid()}"
    with place.open("a+") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        file.seek(0)
        first = int(file.read() or FIRST)
        for _ in range(LAST - FIRST):
            first = first if first + count <= LAST else FIRST
            if all(_is_free(port) for port in range(first, first + count)):
                file.truncate(0)
                file.write(str(first + count))
                return first
            first += 1
    raise AssertionError("no port is free")


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind((LOOPBACK, port))
        except OSError:
            return False
        return True
