"""What was understood of the latest prompts, so that one that comes again is not read again.

An agent asks for the same prompt once for every tool it calls, a client that tries again once more. Kept are figures
under a digest with a key of this process: nothing of a text, and nothing that could be compared with one elsewhere.
"""

from __future__ import annotations

import hashlib
import secrets
from collections import OrderedDict

import msgspec

from services.router.prompt.ngrams import capped
from services.router.prompt.predictor import QualityPredictor, Reading
from services.router.prompt.prompt import read_once, understand

REMEMBERED = 1024
"""How many prompts' figures are kept, some 0.5 KB each."""
PREDICTED = frozenset({"coding_help", "qa_retrieval", "reasoning_math"})
"""Intents that public results were learned of; on others the predictor would find nothing it knows, and reading costs
time."""


class Understood(msgspec.Struct, frozen=True):
    """What a decision takes from a prompt; see `prompt.Understanding`."""

    intent: str
    intent_confidence: float
    complexity: float
    language: str
    needs_web: bool
    reading: Reading | None
    """What it says of how well models will do on it; None = nothing."""


class ReadPrompts:
    """Reads prompts for one predictor. Not for two threads."""

    def __init__(self, predictor: QualityPredictor | None = None) -> None:
        """Without `predictor` nothing is read of how well models will do."""
        self._predictor = predictor
        self._key = secrets.token_bytes(32)
        self._kept: OrderedDict[bytes, Understood] = OrderedDict()

    def of(self, prompt: str) -> Understood:
        """What a prompt wants; of a long one, by its beginning and end."""
        content = capped(prompt).encode("utf-8", "surrogatepass")
        name = hashlib.blake2b(content, digest_size=16, key=self._key).digest()
        found = self._kept.get(name)
        if found is not None:
            self._kept.move_to_end(name)
            return found
        found = self._kept[name] = self._read(prompt)
        if len(self._kept) > REMEMBERED:
            self._kept.popitem(last=False)
        return found

    def _read(self, prompt: str) -> Understood:
        said = read_once(prompt)
        told = understand(prompt, said=said)
        reading = None
        if self._predictor is not None and told.intent in PREDICTED:
            reading = self._predictor.read_again(said)
        return Understood(
            intent=told.intent,
            intent_confidence=told.intent_confidence,
            complexity=told.complexity,
            language=told.language,
            needs_web=told.needs_web,
            reading=reading,
        )
