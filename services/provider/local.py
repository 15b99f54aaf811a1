"""The embedded model from the parent's side: a child that is started in the background and restarted when it dies."""

import asyncio
import contextlib
import logging
import os
import pathlib
import shutil
import sys
import tempfile
from typing import Any

import msgspec

from mesh.errors import MeshError, Reason
from services.provider.adapters.openai import OpenAIExchange
from services.provider.calling.events import Ask, Candidate
from services.provider.errors import ProviderFault, not_configured
from services.provider.local_model import ALIAS, missing_part
from services.provider.splice import Fields

BASE_URL = "http://local/v1"
ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
START_S = 60.0
RESTART_FIRST_S, RESTART_LAST_S = 0.2, 10.0
SYSTEM = b'{"role":"system","content":"You are a helpful assistant."}'
"""Without one the model's template adds its own, with which answers at temperature 0 are nonsense."""
_log = logging.getLogger("dac.provider.local")


class LocalModel:
    """Keeps one child running. `socket` is where it listens."""

    def __init__(self, *, context_tokens: int, slots: int) -> None:
        self._context_tokens, self._slots = context_tokens, slots
        self._folder = pathlib.Path(tempfile.mkdtemp(prefix="dac-m-"))
        self.socket = self._folder / "m.sock"
        self.missing = missing_part()
        """Why the model cannot run here; empty when it can."""
        self._ready = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._process: asyncio.subprocess.Process | None = None

    @property
    def pid(self) -> int | None:
        """The child's process id while it runs."""
        return self._process.pid if self._process is not None else None

    def start(self) -> None:
        """Begins starting the child in the background."""
        if not self.missing and self._task is None:
            self._task = asyncio.create_task(self._supervise(), name="local-model")

    async def close(self) -> None:
        """Ends the child."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        shutil.rmtree(self._folder, ignore_errors=True)

    async def ready(self, wait_s: float) -> None:
        """Waits until the child serves. Raises ProviderFault."""
        if self._ready.is_set():
            return
        if self.missing:
            raise not_configured("local", self.missing)
        if self._task is None:
            raise not_configured("local", "it was not started")
        try:
            async with asyncio.timeout(wait_s):
                await self._ready.wait()
        except TimeoutError:
            raise ProviderFault(
                Reason.PROVIDER_TIMEOUT, f"local: the embedded model did not start within {wait_s:g} s."
            ) from None

    def check(self) -> None:
        """Raises UNAVAILABLE while the child does not serve although it should."""
        if self._task is not None and not self._ready.is_set():
            raise MeshError(Reason.UNAVAILABLE, "the embedded model is not running yet")

    async def _supervise(self) -> None:
        delay_s = RESTART_FIRST_S
        while True:
            started = asyncio.get_running_loop().time()
            try:
                await self._run_once()
            except (OSError, TimeoutError) as error:
                _log.warning("the embedded model did not start: %s", error)
            if asyncio.get_running_loop().time() - started > 30:
                delay_s = RESTART_FIRST_S
            _log.warning("the embedded model ended; it is started again in %.1f s", delay_s)
            await asyncio.sleep(delay_s)
            delay_s = min(delay_s * 2, RESTART_LAST_S)

    async def _run_once(self) -> None:
        arguments = [
            "--context-tokens",
            str(self._context_tokens),
            "--slots",
            str(self._slots),
            "--parent",
            str(os.getpid()),
        ]
        self._process = process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "services.provider.local_model",
            str(self.socket),
            *arguments,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
            # The terminal's signals are the parent's: it drains first.
            start_new_session=True,
            cwd=ROOT,
            env={name: value for name, value in os.environ.items() if not name.endswith(("_KEY", "_URL", "_TOKEN"))},
        )
        assert process.stdout is not None and process.stdin is not None
        try:
            async with asyncio.timeout(START_S):
                line = await process.stdout.readline()
            if line.strip() == b"ready":
                self._ready.set()
            await process.wait()
        finally:
            self._ready.clear()
            process.stdin.close()
            if process.returncode is None:
                with contextlib.suppress(ProcessLookupError):
                    process.kill()
                await process.wait()
            self._process = None


class LocalExchange(OpenAIExchange):
    """Pass-through with what this small model needs: a system message, temperature 0, a limit."""

    def __init__(self, ask: Ask, candidate: Candidate, *, max_tokens: int) -> None:
        super().__init__(ask, candidate, "local", "")
        self._max_tokens = max_tokens

    def changes(self, fields: Fields) -> dict[str, bytes | None]:
        """See OpenAIExchange."""
        changes = super().changes(fields)
        changes["model"] = msgspec.json.encode(ALIAS)
        if _missing(fields, "temperature"):
            changes["temperature"] = b"0"
        cap = self._candidate.output_cap_tokens
        if _missing(fields, "max_tokens") and _missing(fields, "max_completion_tokens"):
            limit = min(self._max_tokens, cap) if cap > 0 else self._max_tokens
            changes["max_tokens"] = str(limit).encode()
        raw = bytes(fields["messages"]) if "messages" in fields else b""
        messages: Any = msgspec.json.decode(raw) if raw else None
        roles = [one.get("role") for one in messages or [] if isinstance(one, dict)]
        if roles and not {"system", "developer"} & set(roles):
            changes["messages"] = raw.replace(b"[", b"[" + SYSTEM + b",", 1)
        return changes


def _missing(fields: Fields, name: str) -> bool:
    return name not in fields or bytes(fields[name]).strip() == b"null"
