"""An operator's entailment model in an ONNX file: does one text follow from another?

Any classifier of pairs that reads BERT's word pieces and has its vocabulary, `vocab.txt`, beside it. Nothing is loaded
before the first pair; then one thread runs the pairs, so that the caller's loop never waits for it.
"""

from __future__ import annotations

import asyncio
import importlib
import json
import pathlib
import unicodedata
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from numpy.typing import NDArray

PIECES_MAX = 256
"""The most pieces of a pair, its three marks included; the premise is cut first."""
PAIRS_MAX = 32
CHARACTERS_MAX = 4_000
WORD_CHARACTERS_MAX = 100
INPUTS = {"input_ids", "attention_mask", "token_type_ids"}


class UnusableModelError(Exception):
    """The file is no classifier of pairs; the message says what is wrong and how to mend it."""


class NliOnnx:
    """See `services.gateway.validation.subject.Nli`."""

    def __init__(self, path: pathlib.Path, *, entailment_class: int | None = None) -> None:
        """`entailment_class` is the number of the output that means "follows"; None = as config.json beside it says."""
        self._path, self._class = path, entailment_class
        self._session: Any = None
        self._vocabulary: dict[str, int] = {}
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="nli")

    async def entailment(self, pairs: Sequence[tuple[str, str]]) -> Sequence[float] | None:
        """How likely each hypothesis follows from its premise; at most `PAIRS_MAX` pairs. Raises UnusableModelError."""
        if not pairs or len(pairs) > PAIRS_MAX:
            return None
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._run, list(pairs))

    def close(self) -> None:
        """Ends the thread after what it is at."""
        self._thread.shutdown(wait=False, cancel_futures=True)

    def _run(self, pairs: list[tuple[str, str]]) -> list[float]:
        if self._session is None:
            self._load()
        rows = [self.encode(premise, hypothesis) for premise, hypothesis in pairs]
        longest = max(len(ids) for ids, _ in rows)
        ids, kinds, mask = (np.zeros((len(rows), longest), np.int64) for _ in range(3))
        for at, (pieces, types) in enumerate(rows):
            ids[at, : len(pieces)], kinds[at, : len(types)], mask[at, : len(pieces)] = pieces, types, 1
        given = {"input_ids": ids, "attention_mask": mask, "token_type_ids": kinds}
        wanted = {one.name for one in self._session.get_inputs()}
        logits = self._session.run(None, {name: given[name] for name in wanted})[0]
        return [float(one) for one in _chances(np.asarray(logits, np.float64))[:, self._class]]

    def _load(self) -> None:
        try:
            runtime = importlib.import_module("onnxruntime")
        except ImportError as error:
            raise UnusableModelError("onnxruntime is not installed: pip install 'dac[embedder]'") from error
        vocabulary = self._path.with_name("vocab.txt")
        try:
            lines = vocabulary.read_text(encoding="utf-8").split("\n")
            options = runtime.SessionOptions()
            options.intra_op_num_threads = options.inter_op_num_threads = 1
            options.log_severity_level = 4
            session = runtime.InferenceSession(str(self._path), options, providers=["CPUExecutionProvider"])
        except OSError as error:
            raise UnusableModelError(f"{vocabulary.name} beside {self._path.name} cannot be read: {error}") from error
        except Exception as error:
            raise UnusableModelError(f"{self._path.name} is no ONNX model: {str(error)[:200]}") from error
        inputs, shape = {one.name for one in session.get_inputs()}, session.get_outputs()[0].shape
        if not inputs <= INPUTS or len(shape) != 2:
            raise UnusableModelError(
                f"{self._path.name} takes {sorted(inputs)} and returns {shape}; a classifier of pairs takes "
                f"{sorted(INPUTS)} and returns (pairs, classes): export it for sequence classification"
            )
        self._vocabulary = {line.rstrip("\r"): number for number, line in enumerate(lines) if line}
        missing = {"[CLS]", "[SEP]", "[UNK]"} - self._vocabulary.keys()
        if missing:
            raise UnusableModelError(f"{vocabulary.name} lacks {sorted(missing)}: only BERT's word pieces are read")
        if self._class is None:
            self._class = _class_of(self._path.with_name("config.json"))
        self._session = session

    def encode(self, premise: str, hypothesis: str) -> tuple[list[int], list[int]]:
        """The numbers of the pieces of a pair, and for each of which of the two it is."""
        second = self._pieces(hypothesis)[: PIECES_MAX // 2]
        first = self._pieces(premise)[: PIECES_MAX - 3 - len(second)]
        start, end = self._vocabulary["[CLS]"], self._vocabulary["[SEP]"]
        return [start, *first, end, *second, end], [0] * (len(first) + 2) + [1] * (len(second) + 1)

    def _pieces(self, text: str) -> list[int]:
        unknown = self._vocabulary["[UNK]"]
        return [piece for word in words_of(text) for piece in (_known(word, self._vocabulary) or [unknown])]


def words_of(text: str) -> list[str]:
    """Words in lower case without accents; punctuation and ideographs stand alone."""
    found = []
    for character in unicodedata.normalize("NFD", text[:CHARACTERS_MAX].lower()):
        category = unicodedata.category(character)
        if character.isspace() or category.startswith("Z"):
            found.append(" ")
        elif category.startswith("P") or character in "$+<=>^`|~" or 0x3400 <= ord(character) <= 0x9FFF:
            found.append(f" {character} ")
        elif category != "Mn" and not category.startswith("C"):
            found.append(character)
    return "".join(found).split()


def _known(word: str, vocabulary: dict[str, int]) -> list[int] | None:
    """The longest known beginning, then the longest known continuation, and so on; None = not to be had."""
    if len(word) > WORD_CHARACTERS_MAX:
        return None
    found, begin = [], 0
    while begin < len(word):
        for end in range(len(word), begin, -1):
            piece = vocabulary.get(word[begin:end] if begin == 0 else f"##{word[begin:end]}")
            if piece is not None:
                found.append(piece)
                begin = end
                break
        else:
            return None
    return found


def _chances(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    raised = np.exp(logits - logits.max(axis=1, keepdims=True))
    chances: NDArray[np.float64] = raised / raised.sum(axis=1, keepdims=True)
    return chances


def _class_of(config: pathlib.Path) -> int:
    try:
        labels = json.loads(config.read_text(encoding="utf-8"))["id2label"]
        return next(
            int(number) for number, name in labels.items() if "entail" in name.lower() and "not" not in name.lower()
        )
    except (OSError, ValueError, KeyError, AttributeError, StopIteration) as error:
        raise UnusableModelError(
            f"{config.name} beside the model does not say which class is entailment: put the model's own one there, or "
            "name the class"
        ) from error
