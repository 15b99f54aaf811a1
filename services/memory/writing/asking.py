"""What a model is asked for, and who asks it. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from mesh.call import Call

EXTRACT, SUMMARISE = "extract", "summarise"
"""What records say was asked for."""


@dataclass(frozen=True, slots=True)
class Ask:
    """One question."""

    model: str
    operation: str
    instructions: str
    text: str
    max_output_tokens: int
    thread_id: str


class Writer(Protocol):
    """Who asks a model."""

    async def write(self, caller: Call, ask: Ask) -> str:
        """The model's answer. `caller`: the call that the turn came with. Raises MeshError."""
