"""Memory as it ships, on a PostgreSQL that waits for its disk, asked through its contract."""

from __future__ import annotations

import asyncio
import collections
import pathlib
import sys
import tempfile
import time
from collections.abc import Sequence
from typing import Any

import numpy as np

from bench.recall.conversations import Conversation
from dac.memory.v1 import memory_pb2, memory_pb2_grpc
from mesh.call import serving
from mesh.ids import uuid7
from mesh.testing import TestProcess, mesh_in_process
from services.memory.recall.memory_statements import PUT_VECTORS
from services.memory.server import MemoryService

TOP = 10
BATCH = 500
ANSWERED = (1, 2, 3, 4)
ADVERSARIAL = 5
VOCABULARY = 30_000
PATIENCE_S = 120.0


def tell(what: str) -> None:
    """Progress, beside the figures."""
    print(what, file=sys.stderr, flush=True)


def percentiles(seconds: Sequence[float]) -> dict[str, float]:
    """p50, p95 and p99 in milliseconds."""
    found = np.percentile(np.array(seconds) * 1e3, [50, 95, 99])
    return {name: round(float(one), 2) for name, one in zip(("p50", "p95", "p99"), found, strict=True)}


class Caller:
    """One user of one organisation."""

    def __init__(self, process: TestProcess, org_id: str, user_id: str) -> None:
        self._process, self._org_id, self._user_id = process, org_id, user_id
        self.stub = memory_pb2_grpc.MemoryServiceStub(process.channel_to("memory"))

    async def ask(self, method: str, request: Any) -> tuple[Any, float]:
        """The answer, and how long it took."""
        call = self._process.caller("chat", "read", org_id=self._org_id)
        assert call.principal is not None
        call.principal.user_id = self._user_id
        call.signed_principal = self._process.signers["memory"].sign(call.principal)
        with serving(call):
            began = time.perf_counter()
            answer = await getattr(self.stub, method)(request, timeout=PATIENCE_S)
            return answer, time.perf_counter() - began

    async def embedded(self) -> None:
        """Waits until every memory has its vectors, where there is a model."""
        while True:
            answer, _ = await self.ask("Recall", memory_pb2.RecallRequest(query="anything", top_k=1))
            if not answer.embedder_id or not answer.not_embedded:
                return
            tell(f"  {answer.not_embedded} without vectors …")
            await asyncio.sleep(2)


async def told(caller: Caller, conversation: Conversation) -> tuple[dict[str, str], list[float]]:
    """Remembers every turn by itself, a session as a thread; places by memory id, and how long each took."""
    places, took = {}, []
    for turn in conversation.turns:
        new = memory_pb2.NewMemory(
            kind=memory_pb2.MEMORY_KIND_TURN,
            text=turn.text,
            speaker=turn.speaker,
            thread_id=f"session-{turn.session}",
        )
        new.occurred_at.FromDatetime(turn.at)
        answer, seconds = await caller.ask("Remember", memory_pb2.RememberRequest(memories=[new]))
        places[answer.memories[0].memory_id] = turn.place
        took.append(seconds)
    return places, took


async def asked(
    caller: Caller, conversation: Conversation, places: dict[str, str]
) -> tuple[dict[int, list[bool]], list[float]]:
    """Whether any of the first ten is evidence, by category; and how long each question took."""
    hits: dict[int, list[bool]] = collections.defaultdict(list)
    took = []
    for question in conversation.questions:
        request = memory_pb2.RecallRequest(query=question.text, top_k=TOP)
        answer, seconds = await caller.ask("Recall", request)
        found = {places[one.memory.memory_id] for one in answer.memories}
        hits[question.category].append(bool(found & question.evidence))
        took.append(seconds)
    return hits, took


def share(hits: dict[int, list[bool]], categories: Sequence[int]) -> float | None:
    """The share of hits in these categories; None without questions."""
    every = [hit for category in categories for hit in hits.get(category, [])]
    return round(sum(every) / len(every), 4) if every else None


async def quality(conversations: Sequence[Conversation], *, model: bool) -> dict[str, Any]:
    """Hits at ten over all conversations, and times."""
    hits: dict[int, list[bool]] = collections.defaultdict(list)
    remembered: list[float] = []
    recalled: list[float] = []
    config = f"memory:\n  embedding_model: {'auto' if model else 'hashed'}\n"
    with tempfile.TemporaryDirectory() as folder:
        async with mesh_in_process(pathlib.Path(folder), config=config, targets=("memory",), durable=True) as process:
            org_id = uuid7()
            callers = [Caller(process, org_id, uuid7()) for _ in conversations]
            places = []
            for caller, conversation in zip(callers, conversations, strict=True):
                found, took = await told(caller, conversation)
                places.append(found)
                remembered += took
            for caller, conversation, found in zip(callers, conversations, places, strict=True):
                await caller.embedded()
                answered, took = await asked(caller, conversation, found)
                recalled += took
                for category, every in answered.items():
                    hits[category] += every
    return {
        "cat1_4": share(hits, ANSWERED),
        "cat5": share(hits, [ADVERSARIAL]),
        "by_category": {str(one): share(hits, [one]) for one in sorted(hits)},
        "questions": sum(map(len, hits.values())),
        "remember_ms": percentiles(remembered),
        "recall_ms": percentiles(recalled),
    }


async def speed(memories: int, questions: int) -> dict[str, Any]:
    """Times at so many memories of one user. Their vectors are random: making them all would take hours."""
    chance = np.random.default_rng(7)
    words = np.array([f"w{number}" for number in range(VOCABULARY)])

    def sentence(length: int) -> str:
        return " ".join(words[np.minimum(chance.zipf(1.3, length), VOCABULARY - 1)])

    with tempfile.TemporaryDirectory() as folder:
        async with mesh_in_process(pathlib.Path(folder), targets=("memory",), durable=True) as process:
            org_id, user_id = uuid7(), uuid7()
            caller = Caller(process, org_id, user_id)
            # The model is loaded by the first text, which is no matter of memories.
            answer, _ = await caller.ask("Embed", memory_pb2.EmbedRequest(texts=["hello"]))
            await _fill(process, org_id, user_id, memories, sentence, answer)
            cpu_s = time.process_time()
            _, first_s = await caller.ask("Recall", memory_pb2.RecallRequest(query="hello", top_k=TOP))
            first_cpu_s = time.process_time() - cpu_s
            tell(f"  the first question took {first_s:.1f} s; {questions} more, and as many turns …")
            recalled, remembered, worked, alone = [], [], [], []
            for number in range(questions):
                request = memory_pb2.RecallRequest(query=f"{number} {sentence(8)}", top_k=TOP)
                recalled.append((await caller.ask("Recall", request))[1])
                new = memory_pb2.NewMemory(kind=memory_pb2.MEMORY_KIND_TURN, text=sentence(20), thread_id="new")
                remembered.append((await caller.ask("Remember", memory_pb2.RememberRequest(memories=[new])))[1])
            # With nothing going on beside, so that the CPU is that of the questions.
            await caller.embedded()
            for number in range(questions):
                request = memory_pb2.RecallRequest(query=f"{sentence(8)} {number}", top_k=TOP)
                cpu_s = time.process_time()
                alone.append((await caller.ask("Recall", request))[1])
                worked.append(time.process_time() - cpu_s)
    return {
        "memories": memories,
        "first_recall_s": round(first_s, 2),
        "first_recall_cpu_s": round(first_cpu_s, 2),
        "recall_ms": percentiles(recalled),
        "recall_alone_ms": percentiles(alone),
        "recall_cpu_ms": percentiles(worked),
        "remember_ms": percentiles(remembered),
    }


async def _fill(
    process: TestProcess, org_id: str, user_id: str, memories: int, sentence: Any, embedder: memory_pb2.EmbedResponse
) -> None:
    """Remembers them through the service, many at a time; their vectors are written as the service would write them."""
    service = process.services["memory"]
    assert isinstance(service, MemoryService)
    await service.remembering.vector_maker.close()
    caller, database, chance = Caller(process, org_id, user_id), process.databases["memory"], np.random.default_rng(11)
    for first in range(0, memories, BATCH):
        news = [
            memory_pb2.NewMemory(kind=memory_pb2.MEMORY_KIND_TURN, text=sentence(15), thread_id=f"t{first}")
            for _ in range(min(BATCH, memories - first))
        ]
        told, _ = await caller.ask("Remember", memory_pb2.RememberRequest(memories=news))
        rows = chance.standard_normal((len(news), embedder.dimensions)).astype(np.float32)
        rows /= np.linalg.norm(rows, axis=1, keepdims=True)
        vectors = [row.astype("<f2").tobytes() for row in rows]
        ids = [one.memory_id for one in told.memories]
        # Numbers are given out in order, to each memory of the batch and to each of its vectors.
        seqs = [2 * first + at + 1 for at in range(len(news))]
        await database.call(PUT_VECTORS, org_id, embedder.embedder_id, ids, seqs, vectors, vectors)
        if first % (20 * BATCH) == 0:
            tell(f"  {first} memories …")
    service.remembering.vector_maker.start()
