"""The response cache: an equal question first, then one that means the same, inside one partition.

The order is: equal scope (a filter on columns), equal question, then the nearest questions of the same scope, each of
which must pass `matching.judge`. Nothing that is served was only held in memory: it was read in this very call.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import hashlib
import math
import random
import re
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import msgspec
import numpy as np
from numpy.typing import NDArray

from mesh.admin_record import Change
from services.memory import errors
from services.memory.answers.counts import BLOCKED, EXACT, MISS, NOT_STORED, SEMANTIC, STORED, Counts
from services.memory.answers.matching import judge, thresholds_of
from services.memory.answers.partitions import Held, Partitions
from services.memory.answers.rules import Offered, life_s, refuses, refuses_unread
from services.memory.answers.store import CacheStore, Kept, NewAnswer, Partition, Purge, Wanted
from services.memory.answers.wording import comparable, normalised, plain
from services.memory.config import MemoryConfig
from services.memory.embedding.embedder import Embedder
from services.memory.sealing.sealing import OrgKey, Sealer

KEY_BYTES = 32
FIRST_CANDIDATES, CANDIDATES = 3, 8
KEPT_VECTORS = 2048
MAX_TAGS, MAX_TAG_BYTES = 16, 128
PURGE_PAGE = 200
_ESCAPED = re.compile(r"\\u([0-9a-fA-F]{4})")
_EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)

_pack = msgspec.msgpack.Encoder().encode
_unpack = msgspec.msgpack.Decoder(tuple[str, bytes]).decode


@dataclass(frozen=True, slots=True)
class Asked:
    """A lookup."""

    partition: Partition
    prompt: str
    meaning: bool
    """Whether a question in other words may match."""
    balanced: bool = False
    min_similarity: float = 0.0
    max_age_s: float = 0.0
    models: Sequence[str] = ()
    fingerprint_only: bool = False
    """Whether it comes from a gateway that knows no scope keys."""


@dataclass(frozen=True, slots=True)
class Hit:
    """An answer to serve."""

    answer: bytes
    age_s: float
    entry_id: str
    similarity: float
    exact: bool


@dataclass(frozen=True, slots=True)
class Miss:
    """Nothing to serve; what came nearest."""

    similarity: float = 0.0
    guard: str = ""


NOTHING = Miss()


class ResponseCache:
    """Answers by scope and question, inside one organisation at a time."""

    def __init__(
        self,
        store: CacheStore,
        config: MemoryConfig,
        embedder: Embedder,
        sealer: Sealer,
        *,
        digest_key: bytes,
        clock: Callable[[], dt.datetime],
        new_id: Callable[[], str],
        chance: random.Random,
    ) -> None:
        self._store, self._config, self._sealer = store, config, sealer
        self.embedder, self.counts = embedder, Counts(store, clock=clock)
        self._digest_key, self._clock, self._new_id, self._chance = digest_key, clock, new_id, chance
        self._partitions = Partitions(
            store, embedder.embedder_id, embedder.dimensions,
            max_bytes=config.cache_mirror_bytes, max_rows=config.cache_max_entries,
        )  # fmt: skip
        self._thresholds = thresholds_of(embedder.embedder_id)
        self._vectors: OrderedDict[bytes, NDArray[np.float32]] = OrderedDict()

    async def find(self, asked: Asked) -> Hit | Miss:
        """The answer to serve. Never an expired one, never another partition's."""
        partition, now = asked.partition, self._clock()
        _check_key(partition.scope_key, "fingerprint" if asked.fingerprint_only else "scope_key")
        if len(asked.prompt) > self._config.cache_max_prompt_bytes:
            return self._missed(partition.org_id, NOTHING)
        key = await self._sealer.key_of(partition.org_id)
        since = _EPOCH if asked.max_age_s <= 0 else now - dt.timedelta(seconds=min(asked.max_age_s, 1e9))
        wanted = Wanted(self._digest(partition.org_id, asked.prompt), now, since, asked.models)
        meaning = asked.meaning and self._config.cache_semantic
        held = self._partitions.known(partition, key.generation) if meaning else None
        ahead = self._ahead(asked.prompt, wanted.digest, held)
        try:
            found = await self._store.find(
                partition, wanted, held.seq if held else 0, self.embedder.embedder_id if meaning else ""
            )
            if found.kept is not None:
                return Hit(_opened(key, found.kept)[1], _age_s(found.kept, now), found.kept.entry_id, 1.0, exact=True)
            # An equal question is served without a look at what it could mean.
            if not meaning or not comparable(asked.prompt):
                return self._missed(partition.org_id, NOTHING)
            if found.changed:
                held = await self._partitions.current(partition, key.generation, now)
            if held is None or not len(held.matrix):
                return self._missed(partition.org_id, NOTHING)
            vector = await (ahead or self._embed(asked.prompt))
        finally:
            if ahead is not None:
                ahead.cancel()
        result = await self._nearest(asked, wanted, held, vector, key)
        return result if isinstance(result, Hit) else self._missed(partition.org_id, result)

    def served(self, org_id: str, hit: Hit, nano_usd: int, ms: float) -> None:
        """Counts a hit that is served."""
        self.counts.hit(org_id, EXACT if hit.exact else SEMANTIC, hit.entry_id, nano_usd, ms)

    async def put(
        self,
        asked: Asked,
        answer: bytes,
        offered: Offered,
        *,
        lifetime_s: float,
        tags: Sequence[str] = (),
        model: str = "",
    ) -> tuple[str, str]:
        """Stores an answer: its id, or "" and why not."""
        partition = asked.partition
        _check_key(partition.scope_key, "fingerprint" if asked.fingerprint_only else "scope_key")
        _check_stored(lifetime_s, offered.quality, tags)
        rules = refuses_unread if asked.fingerprint_only else refuses
        reason = rules(offered, self._config)
        if reason:
            self.counts.add(partition.org_id, NOT_STORED + reason)
            return "", reason
        vector = None
        if asked.meaning and self._config.cache_semantic and comparable(asked.prompt):
            vector = (await self._embed(asked.prompt)).astype("<f4").tobytes()
        key, now, entry_id = await self._sealer.key_of(partition.org_id), self._clock(), self._new_id()
        content = _pack((asked.prompt, answer))
        sealed = key.seal_data(_about(entry_id), content)
        life = life_s(
            lifetime_s, asked.prompt, scoped=not asked.fingerprint_only, config=self._config, chance=self._chance
        )
        new = NewAnswer(
            entry_id, self._digest(partition.org_id, asked.prompt), content if sealed is None else b"", sealed, vector,
            self.embedder.embedder_id if vector else "", model, list(tags), now, now + dt.timedelta(seconds=life),
        )  # fmt: skip
        await self._store.put(partition, new, self._config.cache_max_entries, self._config.cache_max_bytes)
        self.counts.add(partition.org_id, STORED)
        return entry_id, ""

    async def purge(self, org_id: str, purge: Purge, text: str, change: Change) -> int:
        """Deletes what is meant, everywhere at once; how many."""
        self._partitions.forget_organisation(org_id)
        if not text:
            return await self._store.purge(org_id, purge, change)
        key, wanted, meant = await self._sealer.key_of(org_id), text.casefold(), []
        async for page in self._store.read(org_id, purge, PURGE_PAGE):
            for kept in page:
                prompt, answer = _opened(key, kept)
                if wanted in prompt.casefold() or _holds(answer, wanted):
                    meant.append(kept.entry_id)
        return await self._store.delete(org_id, meant, change)

    async def fail(
        self, org_id: str, user_id: str | None, entry_id: str, similarity: float, request_id: str
    ) -> tuple[bool, bool, float]:
        """An answer did not fit: whether it was there, whether it is deleted, what it needs from now on."""
        if not math.isfinite(similarity) or not similarity >= 0:
            raise errors.invalid("similarity", f"must be a number from 0 to 1, not {similarity}")
        similarity = min(similarity, 1.0) or 0.9999
        return await self._store.fail(org_id, user_id, entry_id, similarity, request_id[:128])

    def forget(self, org_id: str) -> None:
        """Drops what is held of an organisation in this process."""
        self._partitions.forget_organisation(org_id)
        self._vectors.clear()
        self.counts.forget(org_id)

    def _ahead(self, prompt: str, digest: bytes, held: Held | None) -> asyncio.Task[NDArray[np.float32]] | None:
        """The question's vector, made while the store looks for an equal one, where that is not to be expected."""
        if held is None or not len(held.matrix) or digest in held.digests or not comparable(prompt):
            return None
        ahead = asyncio.create_task(self._embed(prompt))
        # Where an equal question was found after all, nobody asks what became of it.
        ahead.add_done_callback(lambda done: done.cancelled() or done.exception())
        return ahead

    async def _nearest(
        self, asked: Asked, wanted: Wanted, held: Held, vector: NDArray[np.float32], key: OrgKey
    ) -> Hit | Miss:
        """The nearest question that nothing tells apart from this one."""
        near = [one for one in held.matrix.top(vector, CANDIDATES) if one[1] >= self._thresholds.mended]
        best = Miss(near[0][1] if near else 0.0)
        for part in (near[:FIRST_CANDIDATES], near[FIRST_CANDIDATES:]):
            if not part:
                break
            rows = [row_id for row_id, _ in part]
            kept_rows = await self._store.candidates(asked.partition, wanted, rows, self.embedder.embedder_id)
            for row_id, cosine in part:
                kept = kept_rows.get(row_id)
                if kept is None:
                    continue
                similarity = min(1.0, cosine)
                prompt, answer = _opened(key, kept)
                verdict = judge(asked.prompt, prompt, similarity, self._thresholds, balanced=asked.balanced)
                if verdict.guard and not best.guard:
                    best = Miss(best.similarity, verdict.guard)
                    self.counts.add(asked.partition.org_id, BLOCKED + verdict.guard)
                if verdict.serves and similarity >= asked.min_similarity and similarity > kept.min_similarity:
                    return Hit(answer, _age_s(kept, wanted.now), kept.entry_id, similarity, exact=False)
            if not wanted.models and wanted.since == _EPOCH:
                self._partitions.remove(asked.partition, [row_id for row_id in rows if row_id not in kept_rows])
        return best

    def _missed(self, org_id: str, miss: Miss) -> Miss:
        self.counts.add(org_id, MISS)
        return miss

    def _digest(self, org_id: str, prompt: str) -> bytes:
        text = f"{org_id}\0{normalised(prompt)}".encode("utf-8", "surrogatepass")
        return hashlib.blake2b(text, digest_size=KEY_BYTES, key=self._digest_key).digest()

    async def _embed(self, prompt: str) -> NDArray[np.float32]:
        """The question's vector; the one just looked up is stored next."""
        text = plain(prompt)
        name = hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16, key=self._digest_key).digest()
        vector = self._vectors.get(name)
        if vector is None:
            vector = (await self.embedder.embed([text]))[0]
            self._vectors[name] = vector
            if len(self._vectors) > KEPT_VECTORS:
                self._vectors.popitem(last=False)
        return vector


def _about(entry_id: str) -> str:
    return f"cache_answers/{entry_id}"


def _opened(key: OrgKey, kept: Kept) -> tuple[str, bytes]:
    """The question and the answer. Raises FAILED_PRECONDITION when their data key is gone."""
    content = kept.content if kept.sealed is None else key.open_data(_about(kept.entry_id), kept.sealed)
    return _unpack(content)


def _age_s(kept: Kept, now: dt.datetime) -> float:
    return max(0.0, (now - kept.stored_at).total_seconds())


def _holds(answer: bytes, wanted: str) -> bool:
    """Whether an answer holds a text, also one that JSON writes with escapes."""
    text = _ESCAPED.sub(lambda found: chr(int(found[1], 16)), answer.decode("utf-8", "replace")).casefold()
    return wanted in text or msgspec.json.encode(wanted)[1:-1].decode() in text


def _check_key(key: bytes, field: str) -> None:
    if len(key) != KEY_BYTES:
        raise errors.invalid(field, f"must have {KEY_BYTES} bytes (SHA-256), not {len(key)}")


def _check_stored(lifetime_s: float, quality: float | None, tags: Sequence[str]) -> None:
    if not math.isfinite(lifetime_s) or lifetime_s < 0:
        raise errors.invalid("lifetime_s", f"must be a number of seconds from 0, not {lifetime_s}")
    if quality is not None and not 0 <= quality <= 1:
        raise errors.invalid("quality", f"must be from 0 to 1, not {quality}")
    if len(tags) > MAX_TAGS or any(not 0 < len(tag.encode()) <= MAX_TAG_BYTES for tag in tags):
        raise errors.invalid("tags", f"must be at most {MAX_TAGS} of 1 to {MAX_TAG_BYTES} bytes each")
