"""Tokens of a context: by the vocabulary of the model's family where one is installed, else by the one estimate.

The vocabularies of OpenAI's models come with an optional package. It is loaded in a thread when it is first wanted;
until then, and for every other family, the estimate counts.
"""

from __future__ import annotations

import importlib
import re
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from mesh.tokens import estimate_tokens
from services.memory.conversations.window import Message

PACKAGE = "bpe_openai"
LONGEST_CHARS = 200_000
"""A longer text is estimated."""
_FAMILIES = (
    (re.compile(r"(chatgpt-4o|gpt-4o|gpt-4\.1|gpt-4\.5|gpt-5|gpt-oss|o[1-9])(?![0-9])"), "o200k_base"),
    (re.compile(r"(gpt-4|gpt-3\.5)(?![0-9])"), "cl100k_base"),
)


@dataclass(frozen=True, slots=True)
class Counting:
    """How tokens of a text are counted, and what that is called."""

    name: str
    count: Callable[[str], int]

    def recounted(self, messages: Sequence[Message], enough: int) -> list[Message]:
        """The messages with their tokens as counted here: the newest first, until there are `enough`; 0 = all.

        What lies behind that is left out of the context anyway, and keeps its estimate.
        """
        if self is ESTIMATE:
            return list(messages)
        made, tokens = [], 0
        for message in reversed(messages):
            # What is more than text has shapes of its own (images, calls): its estimate stays.
            if not message.openai_json and (not enough or tokens < enough):
                message = replace(message, tokens_estimated=self.count(message.text))
            tokens += message.tokens_estimated
            made.append(message)
        return made[::-1]


def _estimated(text: str) -> int:
    return estimate_tokens(len(text.encode()))


ESTIMATE = Counting("estimate", _estimated)


def encoding_of(model: str) -> str:
    """The vocabulary of a model by its name, whoever serves it; empty = none that is known."""
    name = model.rpartition("/")[2].lower()
    return next((encoding for pattern, encoding in _FAMILIES if pattern.match(name)), "")


class Tokenizers:
    """The vocabularies that are installed."""

    def __init__(self, *, wanted: bool = True) -> None:
        """Loads nothing yet, and nothing at all where none are `wanted`."""
        self._wanted = wanted
        self._loaded: dict[str, Counting] = {}
        self._loader: threading.Thread | None = None

    def of(self, model: str) -> Counting:
        """How a model's tokens are counted now. Waits for nothing."""
        encoding = encoding_of(model) if self._wanted else ""
        if not encoding:
            return ESTIMATE
        if self._loader is None:
            self._loader = threading.Thread(target=self._load, name="tokenizers", daemon=True)
            self._loader.start()
        return self._loaded.get(encoding, ESTIMATE)

    def wait(self) -> None:
        """Until what was wanted is loaded: for measurements and tests."""
        if self._loader is not None:
            self._loader.join()

    def _load(self) -> None:
        try:
            package = importlib.import_module(PACKAGE)
        except ImportError:
            return
        for name in sorted({encoding for _, encoding in _FAMILIES}):
            self._loaded[name] = _counting(name, package.get_encoding(name).encode_ordinary)


def _counting(name: str, encode: Callable[[str], Sequence[int]]) -> Counting:
    def count(text: str) -> int:
        if len(text) > LONGEST_CHARS:
            return _estimated(text)
        # A lone half of a pair is no text that could be sent.
        return len(encode(text.encode("utf-8", "replace").decode()))

    return Counting(name, count)
