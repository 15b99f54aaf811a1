"""Child processes of `dac up`: in their own session, waited for, restarted when they die, drained at the end."""

import asyncio
import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence

from mesh.errors import MeshError, Reason
from mesh.processes import dying_with_parent

_log = logging.getLogger("dac.children")

READY_TIMEOUT_S = 60.0
FIRST_WAIT_S = 0.2
LONGEST_WAIT_S = 5.0


class Child:
    """One `dac serve --target=…` process."""

    def __init__(
        self, label: str, targets: Sequence[str], env: Mapping[str, str], *, on_change: Callable[[], None]
    ) -> None:
        self.label, self.targets, self._env, self._on_change = label, list(targets), dict(env), on_change
        self.state = "starting"
        self._process: subprocess.Popen[bytes] | None = None
        self._ending = False
        self._watcher: asyncio.Task[None] | None = None

    @property
    def pid(self) -> int:
        """Its process id; 0 while there is none."""
        return self._process.pid if self._process else 0

    async def start(self) -> None:
        """Starts it and waits until it serves. Raises FAILED_PRECONDITION when it ends instead."""
        await self._spawn()
        self._watcher = asyncio.create_task(self._watch())

    async def _spawn(self) -> None:
        ready_read, ready_write = os.pipe()
        command = [sys.executable, "-m", "mesh", "serve", "--target", ",".join(self.targets)]
        self._process = subprocess.Popen(  # noqa: ASYNC220 - must be the main thread, which the death signal follows
            dying_with_parent(command, signal.SIGTERM),
            env={**self._env, "DAC_READY_FD": str(ready_write)},
            pass_fds=(ready_write,),
            stdin=subprocess.DEVNULL,
            start_new_session=True,
        )
        os.close(ready_write)
        try:
            said = await self._until_ready(ready_read)
        finally:
            os.close(ready_read)
        if not said:
            self.state = "failed"
            raise MeshError(
                Reason.FAILED_PRECONDITION, f"{self.label} did not start: its own message stands above this one"
            )
        self.state = "serving"
        self._on_change()

    async def _until_ready(self, fd: int) -> bool:
        """True when the child wrote to its pipe, False when it closed it by ending."""
        loop = asyncio.get_running_loop()
        readable = asyncio.Event()
        loop.add_reader(fd, readable.set)
        try:
            async with asyncio.timeout(READY_TIMEOUT_S):
                await readable.wait()
        except TimeoutError:
            return False
        finally:
            loop.remove_reader(fd)
        return os.read(fd, 1) == b"1"

    async def _watch(self) -> None:
        """Starts it again when it dies."""
        wait_s = FIRST_WAIT_S
        while not self._ending:
            assert self._process is not None
            began = time.monotonic()
            while self._process.poll() is None:
                await asyncio.sleep(0.1)
            if time.monotonic() - began > LONGEST_WAIT_S:
                # It is in no loop: even so it is not started more often than one that is.
                wait_s = FIRST_WAIT_S
            self.state = "restarting"
            self._on_change()
            await asyncio.sleep(wait_s)
            wait_s = min(wait_s * 2, LONGEST_WAIT_S)
            try:
                await self._spawn()
            except Exception:
                # Whatever it was (no memory, no file handles …): the next try may find it gone.
                _log.exception("%s could not be started again; trying on", self.label)

    def expect_end(self) -> None:
        """From now on its end is wanted."""
        self._ending = True
        if self._watcher is not None:
            self._watcher.cancel()

    async def stop(self, grace_s: float) -> None:
        """SIGTERM, then SIGKILL when it takes longer than `grace_s` and a little."""
        self.expect_end()
        if self._process is None or self._process.poll() is not None:
            return
        self._process.terminate()
        end = time.monotonic() + grace_s + 5
        while self._process.poll() is None and time.monotonic() < end:
            await asyncio.sleep(0.02)
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait()
        self.state = "stopped"
