"""A sentence model in an ONNX file, run on this machine by two threads that serve everybody.

Nothing is imported or loaded before the first text. Texts that wait together are run together; a caller with a few
texts never waits behind another's hundreds, nor behind what is embedded in the background.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import pathlib
import sys
import threading
from collections import OrderedDict, deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from services.memory.embedding.wordpiece import WordPiece
from services.memory.vectors import vector_errors as errors

WHEEL_SHA256 = "8199be6f699a395f99f89df973f9dc5285fbcfcdb2ae1a4e1201dab014f3d2a6"
DIMENSIONS = 384
INPUTS = {"input_ids", "attention_mask", "token_type_ids"}
OUTPUT = "last_hidden_state"
BATCH_PIECES = 256
"""The most pieces, blanks included, that run at once: short texts gain by company, long ones lose."""
SHORT_ORDER_TEXTS = 4
"""Orders of so few texts have a thread of their own."""
LONG_ORDER_TEXTS = 8
"""So many of a longer one are run before it is looked whether another goes before it."""
LONG_NICENESS = 10
"""How far the thread of long and background orders stands back: a question's vector, its search and the loop that
answers it go before, on a machine of few processors."""
REMEMBERED = 1024
"""How many texts' vectors are kept: one request's cache lookup and recall ask for the same text."""
SLOWER = ["SkipLayerNormFusion"]
"""What the runtime puts together so that it takes longer: measured, some 6 % of a short text."""
IDLE_S = 60.0
"""After how long without work the thread ends; the model stays loaded."""

Row = NDArray[np.float32]
Run = Callable[[list[list[int]]], NDArray[np.float32]]


def sha256_of(path: pathlib.Path) -> str:
    """The file's digest, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def id_of(digest: str) -> str:
    """The embedder id of a model file."""
    return f"minilm-l6-int8:{digest[:8]}" if digest == WHEEL_SHA256 else f"onnx:{digest[:8]}"


@dataclass(eq=False)
class _Order:
    """What one caller asked for."""

    texts: Sequence[str]
    background: bool
    done: Future[NDArray[np.float32]] = field(default_factory=Future)
    rows: dict[int, Row] = field(default_factory=dict)

    @property
    def short(self) -> bool:
        """Whether somebody waits for a few texts."""
        return not self.background and len(self.texts) <= SHORT_ORDER_TEXTS

    def waiting(self) -> list[int]:
        """Which texts have no vector yet."""
        return [index for index in range(len(self.texts)) if index not in self.rows]


class OnnxEmbedder:
    """See `services.memory.embedding.embedder.Embedder`."""

    dimensions = DIMENSIONS
    semantic = True

    def __init__(
        self,
        path: pathlib.Path,
        embedder_id: str,
        note: str = "",
        *,
        load: Callable[[pathlib.Path], Run] | None = None,
    ) -> None:
        """`load` makes the function from pieces to rows; tests count what it is asked."""
        self.path, self.embedder_id, self.note = path, embedder_id, note
        self._kept: OrderedDict[bytes, Row] = OrderedDict()
        self._lock = threading.Lock()
        model = _Model(path, load or load_model)
        self._short = _Lane(model, self._keep, "embedder")
        self._long = _Lane(model, self._keep, "embedder-long", niceness=LONG_NICENESS)

    async def embed(self, texts: Sequence[str], *, background: bool = False) -> NDArray[np.float32]:
        """One row of length 1 for each text."""
        if not texts:
            return np.zeros((0, DIMENSIONS), np.float32)
        order = _Order(list(texts), background)
        with self._lock:
            for index, text in enumerate(order.texts):
                row = self._kept.get(_key(text))
                if row is not None:
                    order.rows[index] = row
        lane = self._short if order.short else self._long
        if not order.waiting() and not lane.closed:
            return _stacked(order)
        lane.add(order)
        return await asyncio.wrap_future(order.done)

    async def close(self) -> None:
        """Ends the threads after what they are at; what still waits is refused."""
        threads = [lane.close() for lane in (self._short, self._long)]
        for thread in threads:
            if thread is not None:
                await asyncio.to_thread(thread.join)

    def _keep(self, text: str, row: Row) -> None:
        with self._lock:
            self._kept[_key(text)] = row
            while len(self._kept) > REMEMBERED:
                self._kept.popitem(last=False)


class _Model:
    """The tokenizer and the model, loaded by the first text; for several threads."""

    def __init__(self, path: pathlib.Path, load: Callable[[pathlib.Path], Run]) -> None:
        self._path, self._load = path, load
        self._lock = threading.Lock()
        self._loaded: Run | None = None
        self._tokens: WordPiece | None = None

    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        """The pieces of each."""
        with self._lock:
            if self._tokens is None:
                self._tokens = WordPiece()
            return [self._tokens.encode(text) for text in texts]

    def run(self, pieces: list[list[int]]) -> NDArray[np.float32]:
        """The rows of texts that run together."""
        with self._lock:
            if self._loaded is None:
                self._loaded = self._load(self._path)
            loaded = self._loaded
        return loaded(pieces)


class _Lane:
    """A thread and what it has to do. Two of them run beside each other: no text that somebody waits for waits for
    texts of which there are many, or that nobody waits for.
    """

    def __init__(self, model: _Model, keep: Callable[[str, Row], None], name: str, *, niceness: int = 0) -> None:
        """`niceness`: how far its thread stands back when there is more to do than there are processors."""
        self.closed = False
        self._model, self._keep, self._name, self._niceness = model, keep, name, niceness
        self._orders: deque[_Order] = deque()
        self._lock = threading.Condition()
        self._thread: threading.Thread | None = None

    def add(self, order: _Order) -> None:
        """Something to do."""
        with self._lock:
            if self.closed:
                raise errors.embedder_closed()
            self._orders.append(order)
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, name=self._name, daemon=True)
                self._thread.start()
            self._lock.notify()

    def close(self) -> threading.Thread | None:
        """Nothing more is begun; the thread that may be at something."""
        with self._lock:
            self.closed = True
            self._lock.notify()
            return self._thread

    def _work(self) -> None:
        if self._niceness and sys.platform == "linux":
            # Elsewhere a niceness is the whole process's.
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), self._niceness)
        while (orders := self._next()) is not None:
            try:
                self._embed(orders)
            except Exception as error:
                for order in orders:
                    self._forget(order)
                    if not order.done.done():
                        order.done.set_exception(error)

    def _next(self) -> list[_Order] | None:
        """The orders to work at now: all short ones, or the first that somebody waits for. None = end."""
        with self._lock:
            while True:
                for order in [one for one in self._orders if one.done.cancelled()]:
                    self._orders.remove(order)
                if self.closed:
                    for order in self._orders:
                        order.done.set_exception(errors.embedder_closed())
                    self._orders.clear()
                if self._orders:
                    short = [one for one in self._orders if one.short]
                    return short or [min(self._orders, key=lambda one: one.background)]
                if self.closed or not self._lock.wait(IDLE_S):
                    if self._orders:
                        continue
                    self._thread = None
                    return None

    def _forget(self, order: _Order) -> None:
        with self._lock:
            if order in self._orders:
                self._orders.remove(order)

    def _embed(self, orders: list[_Order]) -> None:
        """All texts of short orders, or as many of a long one as fit into one run; then looks again."""
        wanted: dict[str, list[tuple[_Order, int]]] = {}
        for order in orders:
            todo = order.waiting()
            if not order.short:
                # Neighbours in length waste no blanks on each other.
                todo = sorted(todo, key=lambda index: len(order.texts[index]))[:LONG_ORDER_TEXTS]
            for index in todo:
                wanted.setdefault(order.texts[index], []).append((order, index))
        texts = list(wanted)
        pieces = sorted(zip(self._model.encode(texts), texts, strict=True), key=lambda one: len(one[0]))
        while pieces:
            count = max(1, min(len(pieces), BATCH_PIECES // len(pieces[0][0])))
            while count > 1 and len(pieces[count - 1][0]) * count > BATCH_PIECES:
                count -= 1
            batch, pieces = pieces[:count], pieces[count:]
            rows = self._model.run([one for one, _ in batch])
            for (_, text), row in zip(batch, rows, strict=True):
                self._keep(text, row)
                for order, index in wanted[text]:
                    order.rows[index] = row
        for order in orders:
            if len(order.rows) == len(order.texts):
                self._forget(order)
                if order.done.set_running_or_notify_cancel():
                    order.done.set_result(_stacked(order))


def _key(text: str) -> bytes:
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest()


def _stacked(order: _Order) -> NDArray[np.float32]:
    return np.stack([order.rows[index] for index in range(len(order.texts))])


def load_model(path: pathlib.Path) -> Run:
    """The function from pieces to rows: mean over the pieces that are no blanks, then length 1."""
    session = _session(path)

    def run(pieces: list[list[int]]) -> NDArray[np.float32]:
        ids = np.zeros((len(pieces), max(map(len, pieces))), np.int64)
        mask = np.zeros_like(ids)
        for row, one in enumerate(pieces):
            ids[row, : len(one)] = one
            mask[row, : len(one)] = 1
        given = {"input_ids": ids, "attention_mask": mask, "token_type_ids": np.zeros_like(ids)}
        hidden = session.run([OUTPUT], given)[0]
        rows = (hidden * mask[:, :, None]).sum(axis=1) / mask.sum(axis=1)[:, None]
        rows /= np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)
        return np.ascontiguousarray(rows, np.float32)

    return run


def _session(path: pathlib.Path) -> Any:
    try:
        import onnxruntime

        onnxruntime.disable_telemetry_events()
        onnxruntime.set_default_logger_severity(4)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.log_severity_level = 4
        # The arena keeps what the longest batch ever took.
        options.enable_cpu_mem_arena = False
        session = onnxruntime.InferenceSession(
            str(path), options, providers=["CPUExecutionProvider"], disabled_optimizers=SLOWER
        )
        inputs = {one.name for one in session.get_inputs()}
        outputs = {one.name: one.shape for one in session.get_outputs()}
    except Exception as error:
        raise errors.embedder_unusable(path.name, f"{type(error).__name__}: {str(error)[:200]}") from error
    if not inputs <= INPUTS or OUTPUT not in outputs or outputs[OUTPUT][-1] != DIMENSIONS:
        raise errors.embedder_unusable(
            path.name,
            f"it takes {sorted(inputs)} and returns {outputs}, and not {sorted(INPUTS)} to {OUTPUT} of {DIMENSIONS}",
        )
    return session
