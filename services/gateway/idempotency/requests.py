"""Carries a request with an Idempotency-Key out once, and answers it the same again for a day.

After the draft of the IETF (draft-ietf-httpapi-idempotency-key-header) and Stripe's practice; what was decided
otherwise, and why, stands in docs/decisions/0025-idempotency-key.md.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import hmac
import logging
import random
from collections.abc import Awaitable, Callable

from mesh.envelope_keys import CannotOpen, seal, unseal
from mesh.errors import MeshError, Reason, invalid
from mesh.ids import uuid7
from mesh.keyring import Keyring
from services.gateway import errors
from services.gateway.idempotency.store import Asked, Claim, State, Store

HEADER = "idempotency-key"
REPLAYED = "idempotent-replayed"
"""The header of an answer that was given before (Stripe's name)."""
MOST_KEY = 255
KEPT_S = 24 * 3600.0
RUN_S = 60.0
"""Whoever is at a request for longer is gone: calls of services end after 30 s."""
MOST_ANSWER_BYTES = 64 * 1024
MOST_PER_CALLER = 10_000
SWEEP_EVERY_S = 600.0
SWEEP_ROWS = 5_000
TRIES = 3
TRY_AGAIN_S = 0.2
PURPOSE = "idempotent-answers"
REFUSED = frozenset(
    {
        Reason.INVALID_REQUEST,
        Reason.MISSING_CREDENTIAL,
        Reason.INVALID_CREDENTIAL,
        Reason.PERMISSION_DENIED,
        Reason.PRINCIPAL_REQUIRED,
        Reason.NOT_FOUND,
        Reason.MODEL_NOT_FOUND,
        Reason.RATE_LIMITED,
        Reason.BUDGET_EXHAUSTED,
        Reason.SPENDING_STOPPED,
        Reason.PRICE_UNKNOWN,
        Reason.REQUEST_ID_CONFLICT,
        Reason.ALREADY_EXISTS,
        Reason.MANAGED_BY_FILE,
        Reason.TOO_LARGE,
        Reason.UNIMPLEMENTED,
        Reason.FAILED_PRECONDITION,
    }
)
"""Failures by which nothing was changed: the key is free again. After any other it is not known what was done."""
_log = logging.getLogger("dac.gateway.idempotency")


def read_key(given: list[str]) -> str:
    """The key of a header, which may stand in quotes. Raises INVALID_REQUEST."""
    if len(given) != 1:
        raise invalid(HEADER, "There is more than one Idempotency-Key: send one.")
    key = given[0].strip()
    if len(key) > 1 and key[0] == key[-1] == '"':
        key = key[1:-1]
    if not 1 <= len(key) <= MOST_KEY or not (key.isascii() and key.isprintable()):
        raise invalid(HEADER, f"An Idempotency-Key has 1 to {MOST_KEY} printable characters; a UUID is a good one.")
    return key


def asked_with(key: str, org_id: str, caller: str, rpc: str, body: bytes) -> Asked:
    """A request under its key. The key itself is not stored, and without it nobody can guess at the body."""
    secret = key.encode()
    fingerprint = hmac.digest(secret, rpc.encode() + b"\0" + body, hashlib.sha256)
    return Asked(org_id, caller, hashlib.sha256(secret).digest(), fingerprint)


class IdempotentRequests:
    """Carries requests out once."""

    def __init__(self, store: Store, keyring: Keyring, *, most_per_caller: int = MOST_PER_CALLER) -> None:
        self._store, self._keyring, self._most = store, keyring, most_per_caller
        self._running: set[asyncio.Task[bytes]] = set()
        self._sweeper: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begins removing what is kept no longer."""
        self._sweeper = asyncio.create_task(self._sweep())

    async def close(self, timeout_s: float) -> None:
        """Waits for what runs."""
        if self._sweeper is not None:
            self._sweeper.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._sweeper
        if self._running:
            await asyncio.wait(self._running, timeout=timeout_s)

    async def once(self, asked: Asked, run: Callable[[str], Awaitable[bytes]]) -> tuple[bytes, bool]:
        """The request's answer, and whether it had been given before.

        `run` carries it out; it gets an id that stays the same should it have to be carried out again. It goes on
        when the caller leaves: who asks again then finds the answer.

        Raises what `run` raises; REQUEST_ID_CONFLICT when the key stands for another request; REQUEST_IN_PROGRESS
        while that request runs; FAILED_PRECONDITION when its answer was not kept; RATE_LIMITED with too many keys.
        """
        run_id = uuid7()
        claim = await self._store.claim(asked, run_id, uuid7(), RUN_S, KEPT_S, self._most)
        if claim.state is State.OTHER:
            raise errors.other_request()
        if claim.state is State.RUNNING:
            raise errors.still_running()
        if claim.state is State.FINISHED:
            return self._opened(asked, claim), True
        task = asyncio.create_task(self._carry_out(asked, run_id, claim, run))
        self._running.add(task)
        task.add_done_callback(self._ended)
        return await asyncio.shield(task), False

    def _ended(self, task: asyncio.Task[bytes]) -> None:
        self._running.discard(task)
        if not task.cancelled():
            # Whoever waited for it may be gone.
            task.exception()

    async def _carry_out(
        self, asked: Asked, run_id: str, claim: Claim, run: Callable[[str], Awaitable[bytes]]
    ) -> bytes:
        try:
            answer = await run(claim.request_id)
        except Exception as error:
            refused = isinstance(error, MeshError) and error.reason in REFUSED
            # What an earlier run may have done is not undone by this one's refusal.
            end = self._store.forget if refused and not claim.again else self._store.release
            await self._written(lambda: end(asked, run_id))
            raise
        kept = None
        if len(answer) <= MOST_ANSWER_BYTES:
            kept = seal(self._keyring.subkey(PURPOSE), answer, _bound(asked))
        await self._written(lambda: self._store.finish(asked, run_id, self._keyring.id, kept, KEPT_S))
        return answer

    async def _written(self, write: Callable[[], Awaitable[None]]) -> None:
        """Tries a few times; the caller gets its answer all the same."""
        for left in range(TRIES - 1, -1, -1):
            try:
                await write()
                return
            except MeshError as error:
                if not left:
                    _log.warning("what came of a request with an Idempotency-Key was not stored: %s", error)
            await asyncio.sleep(TRY_AGAIN_S)

    def _opened(self, asked: Asked, claim: Claim) -> bytes:
        if claim.answer is None:
            raise errors.answer_not_kept("it was too large to be kept")
        ring = next((one for one in (self._keyring, *self._keyring.former) if one.id == claim.master_key_id), None)
        try:
            if ring is not None:
                return unseal(ring.subkey(PURPOSE), claim.answer, _bound(asked))
        except CannotOpen:
            pass
        raise errors.answer_not_kept("it was sealed with another master key")

    async def _sweep(self) -> None:
        while True:
            # Replicas that started together need not sweep together.
            await asyncio.sleep(SWEEP_EVERY_S * (0.5 + random.random()))
            try:
                while await self._store.sweep(SWEEP_ROWS) == SWEEP_ROWS:
                    await asyncio.sleep(0)
            except MeshError as error:
                _log.warning("old answers to requests with an Idempotency-Key stay for now: %s", error)


def _bound(asked: Asked) -> bytes:
    return b"\0".join(
        (b"gateway", b"idempotent_requests", asked.org_id.encode(), asked.caller.encode(), asked.key_hash)
    )
