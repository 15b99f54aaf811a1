"""The one writer of the log: gives each stored row its place, and signs what the tree has become.

It runs in the leader among the replicas. The lead is an advisory lock; what makes it safe to lose is the epoch that
each leader raises and the head that each append locks and compares: a former leader can write nothing.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import logging
from collections.abc import Callable

from mesh.errors import MeshError, Reason
from mesh.ids import uuid7
from mesh.tlog.heads import NOBODY, heads_leaf
from mesh.tlog.leaves import HEADS, NUMBERS, SALT_BYTES, START, Leaf, write_leaf
from mesh.tlog.merkle import hash_leaf
from mesh.tlog.notes import Checkpoint, NoteError, NoteSigner, VerifierKey, open_checkpoint
from mesh.tlog.starts import start_leaf
from mesh.tlog.tiles import Edge
from services.audit import errors
from services.audit.follower import Arrivals
from services.audit.log.events import Stored, leaf_of
from services.audit.log.store import NOTHING, Batch, Head, LogStore

_log = logging.getLogger(__name__)
NEVER = dt.datetime.min.replace(tzinfo=dt.UTC)

AHEAD_FROM = 100
"""After a batch of so many there are more to come: they are read while it is written."""


def _written_time(at: dt.datetime) -> str:
    return at.replace(tzinfo=None).isoformat(timespec="microseconds") + "Z"


class Sequencer:
    """Appends what is stored, batch by batch: while one is written, the next one gathers."""

    def __init__(
        self,
        store: LogStore,
        signer: Callable[[], NoteSigner],
        arrivals: Arrivals,
        *,
        batch: int,
        poll_s: float,
        retry_s: float,
        random: Callable[[int], bytes],
        heads_every_s: float = 0,
    ) -> None:
        """`signer` is asked for when the lead is taken; `batch`: at most so many requests at once.

        `heads_every_s`: the least time between two leaves of heads; 0 = none.
        """
        self._store, self._make_signer, self._arrivals = store, signer, arrivals
        self._most, self._poll_s, self._retry_s, self._random = batch, poll_s, retry_s, random
        self._signer: NoteSigner | None = None
        self._head = NOTHING
        self._edge = Edge()
        self._seqs: dict[str, int] = {}
        self._ahead: list[Stored] = []
        self._appending = asyncio.Lock()
        self._heads_every = dt.timedelta(seconds=heads_every_s)
        self._heads_at, self._heads_end = NEVER, 0

    async def run(self) -> None:
        """Appends for as long as this replica leads; never returns."""
        while True:
            try:
                await self.lead()
                while True:
                    news = self._arrivals.next()
                    if not await self.step():
                        try:
                            # Another replica may have stored a change, which is not announced here.
                            await asyncio.wait_for(news.wait(), self._poll_s)
                        except TimeoutError:
                            pass
            except MeshError as error:
                _log.warning("the audit log waits: %s", error.message)
            except Exception:
                _log.exception("appending to the audit log failed")
            await asyncio.sleep(self._retry_s)

    async def lead(self) -> None:
        """Takes the lead at the stored head. Raises MeshError when that is not what its own checkpoint says."""
        async with self._appending:
            await self._lead()

    async def _lead(self) -> None:
        self._signer = self._make_signer()
        key = self._signer.verifier
        head = await self._store.head()
        if head.verifier_key not in ("", str(key)):
            raise errors.log_has_another_key(head.verifier_key.partition("+")[0], key.name)
        epoch = await self._store.take_lead(str(key))
        head = await self._store.head()
        if head.epoch != epoch:
            raise errors.log_lead_lost()
        self._check_signed(head, key)
        try:
            edge = Edge(head.size, await self._store.edge_rows(head.size))
        except ValueError as error:
            raise errors.log_is_damaged(str(error)) from None
        if edge.root() != head.root:
            raise errors.log_is_damaged(f"its tiles and leaves do not hash to the root of its {head.size} entries")
        self._head, self._edge, self._seqs, self._ahead = head, edge, {}, []
        if heads := await self._store.newest_heads():
            self._heads_at, self._heads_end = heads.at, heads.idx + 1

    @staticmethod
    def _check_signed(head: Head, key: VerifierKey) -> None:
        """A head that this key has not signed is not built on: what follows would vouch for it."""
        if not head.size and not head.checkpoint:
            return
        try:
            signed = open_checkpoint(head.checkpoint, key)
        except NoteError as error:
            raise errors.log_is_damaged(f"its checkpoint does not open: {error}") from None
        if (signed.size, signed.root) != (head.size, head.root):
            raise errors.log_is_damaged(f"its checkpoint is of {signed.size} entries, its head of {head.size}")

    async def step(self) -> int:
        """Appends what is there now; how many. Raises MeshError, and then nothing is known: take the lead again."""
        async with self._appending:
            return await self._step()

    async def begin_at(self, start: int, *, needs_archive: bool) -> str:
        """Drops the entries before `start` and appends the leaf that declares it: "appended", or why nothing was done.

        Raises MeshError.
        """
        async with self._appending:
            if self._signer is None:
                raise errors.log_lead_lost()
            numbers = await self._store.numbers_before(start)
            time = _written_time(dt.datetime.now(dt.UTC))
            row = Stored(NUMBERS[START], 0, NOBODY, uuid7(), b"")
            seqs = await self._seqs_for([row])
            batch, edge = self._written(
                [row],
                seqs,
                lambda made, number, salt: start_leaf(made.record_id, number, time, start, numbers, salt),
            )
            after = self._signed([row], edge)
            done = await self._store.append_start(self._head, after, batch, start, numbers, needs_archive=needs_archive)
            if done in ("deposed", "behind"):
                raise errors.log_lead_lost()
            if done == "appended":
                self._head, self._edge = after, edge
                self._seqs.update(seqs)
            return done

    async def _step(self) -> int:
        if self._heads_every and self._head.size > self._heads_end:
            now = dt.datetime.now(dt.UTC)
            if now - self._heads_at >= self._heads_every:
                return await self._append_heads(now)
        rows, self._ahead = self._ahead or await self._store.take(self._head, self._most), []
        if not rows:
            return 0
        seqs = await self._seqs_for(rows)
        batch, edge = self._written(rows, seqs, leaf_of)
        after = self._signed(rows, edge)
        appending = self._store.append(self._head, after, batch)
        if len(rows) < AHEAD_FROM:
            done = await appending
        else:
            # Read while this batch is written; it gets its leaves when this one is.
            done, self._ahead = await asyncio.gather(appending, self._store.take(after, self._most))
        if done != "appended":
            raise errors.log_lead_lost()
        self._head, self._edge = after, edge
        self._seqs.update(seqs)
        return len(rows)

    async def _append_heads(self, now: dt.datetime) -> int:
        """Appends the leaf that says the last number of every organisation; exports are held against it."""
        # Nobody else appends: what is read here is the log of this head, or the append below is refused.
        numbers = await self._store.all_seqs()
        seqs = {NOBODY: numbers.pop(NOBODY, 0)}
        row = Stored(NUMBERS[HEADS], 0, NOBODY, uuid7(), b"")
        time = _written_time(now)
        batch, edge = self._written(
            [row], seqs, lambda stored, number, salt: heads_leaf(stored.record_id, number, time, numbers, salt)
        )
        after = self._signed([row], edge)
        if await self._store.append_heads(self._head, after, batch, now, numbers) != "appended":
            raise errors.log_lead_lost()
        self._head, self._edge = after, edge
        self._seqs.update(seqs)
        self._heads_at, self._heads_end = now, after.size
        return 1

    async def _seqs_for(self, rows: list[Stored]) -> dict[str, int]:
        """The last number of every organisation in a batch."""
        org_ids = {row.org_id for row in rows}
        unknown = org_ids - self._seqs.keys()
        if unknown:
            self._seqs.update(await self._store.last_seqs(unknown))
        return {org_id: self._seqs[org_id] for org_id in org_ids}

    def _written(
        self, rows: list[Stored], seqs: dict[str, int], leaf_of: Callable[[Stored, int, bytes], Leaf]
    ) -> tuple[Batch, Edge]:
        """The leaves of rows and the tree with them; raises the numbers in `seqs`."""
        random = self._random(SALT_BYTES * len(rows))
        numbers, leaves, salts = [], [], []
        for place, row in enumerate(rows):
            seqs[row.org_id] = number = seqs[row.org_id] + 1
            salt = random[place * SALT_BYTES : (place + 1) * SALT_BYTES]
            numbers.append(number)
            salts.append(salt)
            leaves.append(write_leaf(leaf_of(row, number, salt)))
        edge = self._edge.copy()
        full = edge.extend([hash_leaf(leaf) for leaf in leaves])
        return Batch(rows, numbers, leaves, salts, full), edge

    def _signed(self, rows: list[Stored], edge: Edge) -> Head:
        """The head behind a batch."""
        signer, before = self._signer, self._head
        if signer is None or edge.size <= before.size:
            raise MeshError(Reason.INTERNAL, f"a log of {before.size} entries cannot become one of {edge.size}")
        checkpoint = Checkpoint(signer.verifier.name, edge.size, edge.root())
        return before._replace(
            size=edge.size,
            root=checkpoint.root,
            checkpoint=signer.sign(checkpoint.text()),
            request_position=max([before.request_position, *(row.position for row in rows if row.kind == 1)]),
            change_position=max([before.change_position, *(row.position for row in rows if row.kind == 2)]),
        )
