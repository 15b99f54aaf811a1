"""A sentence model in an ONNX file, run on this machine by one thread that serves everybody.

Nothing is imported or loaded before the first text. Texts that wait together are run together; a caller with a few
texts never waits behind another's hundreds.
"""

from __future__ import annotations

import asyncio
import hashlib
import pathlib
import threading
from collections import OrderedDict, deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from services.memory import vector_errors as errors
from services.memory.wordpiece import WordPiece

WHEEL_SHA256 = "8199be6f699a395f99f89df973f9dc5285fbcfcdb2ae1a4e1201dab014f3d2a6"
DIMENSIONS = 384
INPUTS = {"input_ids", "attention_mask", "token_type_ids"}
OUTPUT = "last_hidden_state"
BATCH_PIECES = 256
"""The most pieces, blanks included, that run at once: short texts gain by company, long ones lose."""
SHORT_ORDER_TEXTS = 4
"""Orders of so few texts go before longer ones."""
REMEMBERED = 1024
"""How many texts' vectors are kept: one request's cache lookup and recall ask for the same text."""
IDLE_S = 60.0
"""After how long without work the thread ends; the model stays loaded."""

Row = NDArray[np.float32]


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
    done: Future[NDArray[np.float32]] = field(default_factory=Future)
    rows: dict[int, Row] = field(default_factory=dict)

    def waiting(self) -> list[int]:
        """Which texts have no vector yet."""
        return [index for index in range(len(self.texts)) if index not in self.rows]


class OnnxEmbedder:
    """See `services.memory.embedder.Embedder`."""

    dimensions = DIMENSIONS
    semantic = True

    def __init__(
        self,
        path: pathlib.Path,
        embedder_id: str,
        note: str = "",
        *,
        load: Callable[[pathlib.Path], Callable[[list[list[int]]], NDArray[np.float32]]] | None = None,
    ) -> None:
        """`load` makes the function from pieces to rows; tests count what it is asked."""
        self.embedder_id, self.note = embedder_id, note
        self._path, self._load = path, load or load_model
        self._run: Callable[[list[list[int]]], NDArray[np.float32]] | None = None
        self._tokens: WordPiece | None = None
        self._kept: OrderedDict[bytes, Row] = OrderedDict()
        self._orders: deque[_Order] = deque()
        self._lock = threading.Condition()
        self._thread: threading.Thread | None = None
        self._closed = False

    async def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """One row of length 1 for each text."""
        if not texts:
            return np.zeros((0, DIMENSIONS), np.float32)
        order = _Order(list(texts))
        with self._lock:
            if self._closed:
                raise errors.embedder_closed()
            for index, text in enumerate(order.texts):
                row = self._kept.get(_key(text))
                if row is not None:
                    order.rows[index] = row
            if len(order.rows) == len(order.texts):
                return _stacked(order)
            self._orders.append(order)
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, name="embedder", daemon=True)
                self._thread.start()
            self._lock.notify()
        return await asyncio.wrap_future(order.done)

    async def close(self) -> None:
        """Ends the thread after what it is at; what still waits is refused."""
        with self._lock:
            self._closed = True
            thread = self._thread
            self._lock.notify()
        if thread is not None:
            await asyncio.to_thread(thread.join)

    def _work(self) -> None:
        while (orders := self._next()) is not None:
            try:
                self._embed(orders)
            except Exception as error:
                for order in orders:
                    self._forget(order)
                    if not order.done.done():
                        order.done.set_exception(error)

    def _next(self) -> list[_Order] | None:
        """The orders to work at now: all short ones and the first long one. None = end."""
        with self._lock:
            while True:
                for order in [one for one in self._orders if one.done.cancelled()]:
                    self._orders.remove(order)
                if self._closed:
                    for order in self._orders:
                        order.done.set_exception(errors.embedder_closed())
                    self._orders.clear()
                if self._orders:
                    short = [one for one in self._orders if len(one.texts) <= SHORT_ORDER_TEXTS]
                    long = [one for one in self._orders if len(one.texts) > SHORT_ORDER_TEXTS]
                    return short + long[:1]
                if self._closed or not self._lock.wait(IDLE_S):
                    if self._orders:
                        continue
                    self._thread = None
                    return None

    def _forget(self, order: _Order) -> None:
        with self._lock:
            if order in self._orders:
                self._orders.remove(order)

    def _embed(self, orders: list[_Order]) -> None:
        """All texts of the short orders, and as many of the long one as fit into one run; then looks again."""
        if self._run is None or self._tokens is None:
            self._tokens = WordPiece()
            self._run = self._load(self._path)
        wanted: dict[str, list[tuple[_Order, int]]] = {}
        for order in orders:
            todo = order.waiting()
            if len(order.texts) > SHORT_ORDER_TEXTS:
                # Neighbours in length waste no blanks on each other.
                todo = sorted(todo, key=lambda index: len(order.texts[index]))[: 2 * SHORT_ORDER_TEXTS]
            for index in todo:
                wanted.setdefault(order.texts[index], []).append((order, index))
        pieces = sorted(((self._tokens.encode(text), text) for text in wanted), key=lambda one: len(one[0]))
        while pieces:
            count = max(1, min(len(pieces), BATCH_PIECES // len(pieces[0][0])))
            while count > 1 and len(pieces[count - 1][0]) * count > BATCH_PIECES:
                count -= 1
            batch, pieces = pieces[:count], pieces[count:]
            rows = self._run([one for one, _ in batch])
            for (_, text), row in zip(batch, rows, strict=True):
                self._keep(text, row)
                for order, index in wanted[text]:
                    order.rows[index] = row
        for order in orders:
            if len(order.rows) == len(order.texts):
                self._forget(order)
                if order.done.set_running_or_notify_cancel():
                    order.done.set_result(_stacked(order))

    def _keep(self, text: str, row: Row) -> None:
        with self._lock:
            self._kept[_key(text)] = row
            while len(self._kept) > REMEMBERED:
                self._kept.popitem(last=False)


def _key(text: str) -> bytes:
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest()


def _stacked(order: _Order) -> NDArray[np.float32]:
    return np.stack([order.rows[index] for index in range(len(order.texts))])


def load_model(path: pathlib.Path) -> Callable[[list[list[int]]], NDArray[np.float32]]:
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
        session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
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
