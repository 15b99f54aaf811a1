"""The process that `tests.programs` has its programs from: all of DAC is imported once, each program is a fork of it.

A message on the control socket is one program: its arguments, environment and folder as JSON, its standard streams and
the pipe for its exit status as descriptors. Nothing runs here before the fork: no thread, no loop, no connection.
"""

import atexit
import gc
import importlib
import json
import os
import pkgutil
import runpy
import selectors
import signal
import socket
import sys
import threading
import traceback
from typing import Any, NoReturn

from typer.testing import CliRunner

MAX_MESSAGE_BYTES = 1 << 20


def import_all() -> None:
    """What a start of DAC or one of its commands would import."""
    from mesh.app import TARGETS

    for target in TARGETS.values():
        target.config_class()
        importlib.import_module(f"services.{target.name}.server")
    import mesh.cli

    for module in pkgutil.iter_modules(mesh.cli.__path__):
        importlib.import_module(f"mesh.cli.{module.name}")
    # Reading a command line and showing its help imports more, when the first one is read.
    CliRunner().invoke(mesh.cli.application("serve"), ["serve", "--target", "", "--help"])


def serve(control: socket.socket) -> list[str]:
    """Forks a program for each message; returns in each of them, with its arguments. Ends with the tests."""
    waiting = selectors.DefaultSelector()
    waiting.register(control, selectors.EVENT_READ)
    while True:
        for key, _ in waiting.select():
            if key.fileobj is control:
                message, descriptors, _, _ = socket.recv_fds(control, MAX_MESSAGE_BYTES, 4)
                if not message:
                    sys.exit(0)
                program = json.loads(message)
                *streams, status = descriptors
                if not (pid := os.fork()):
                    others = [key.data[1] for key in waiting.get_map().values() if key.data]
                    for descriptor in (*others, status, *(key.fd for key in waiting.get_map().values())):
                        os.close(descriptor)
                    waiting.close()
                    control.detach()
                    return become(program, streams)
                os.write(status, f"{pid}\n".encode())
                for stream in streams:
                    os.close(stream)
                waiting.register(os.pidfd_open(pid), selectors.EVENT_READ, (pid, status))
            else:
                pid, status = key.data
                _, code = os.waitpid(pid, 0)
                waiting.unregister(key.fileobj)
                os.close(key.fd)
                os.write(status, f"{os.waitstatus_to_exitcode(code)}\n".encode())
                os.close(status)


def become(program: dict[str, Any], streams: list[int]) -> list[str]:
    """Takes over streams, environment and folder as a started process finds them."""
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
        os.close(stream)
    sys.stdin = open(0, closefd=False)  # noqa: SIM115
    sys.stdout = open(1, "w", closefd=False)  # noqa: SIM115
    sys.stderr = open(2, "w", buffering=1, closefd=False)  # noqa: SIM115
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.environ.clear()
    os.environ.update(program["env"])
    os.chdir(program["folder"])
    return [str(argument) for argument in program["arguments"]]


def run(arguments: list[str]) -> int:
    """`dac ARGUMENTS` as the interpreter runs it; returns its exit code."""
    sys.argv = ["dac", *arguments]
    try:
        runpy.run_module("mesh", run_name="__main__", alter_sys=True)
    except SystemExit as ended:
        if ended.code is None or isinstance(ended.code, int):
            return ended.code or 0
        print(ended.code, file=sys.stderr)
        return 1
    except BaseException:
        traceback.print_exc()
        return 1
    return 0


def end(code: int) -> NoReturn:
    """As `multiprocessing` ends its forks: threads and what is registered come to their end, and what was imported is
    not taken apart, which would first copy all of it from the process that it was forked from."""
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    import_all()
    gc.collect()
    gc.freeze()
    end(run(serve(socket.socket(fileno=int(sys.argv[1])))))
