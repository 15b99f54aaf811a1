"""Thinking, between OpenAI's words and Anthropic's: how much of it is asked for, and how it comes and goes back.

Claude wants the blocks it thought in back as it gave them, beside the tool calls they led to. They travel as
`extra_content.anthropic.thinking` of the assistant's message, each with the place it had among the answer's blocks.
"""

from typing import Any, NamedTuple

from services.provider.adapters import MAX_KEPT_BYTES
from services.provider.adapters.claude import Generation
from services.provider.errors import not_translatable

BUDGETS = {"minimal": 1024, "low": 1024, "medium": 8192, "high": 24576, "xhigh": 24576, "max": 24576}
"""reasoning_effort → the token budget of models that have one: our choice, the same as for Bedrock's."""
LEAST_BUDGET = 1024
KINDS = frozenset({"thinking", "redacted_thinking"})
Block = dict[str, Any]


class Thinking(NamedTuple):
    """What a request says about it."""

    config: dict[str, Any] | None = None
    """`thinking`."""
    effort: str = ""
    """`output_config.effort`."""

    @property
    def budget_tokens(self) -> int:
        """Of models that have one; 0 otherwise."""
        return int((self.config or {}).get("budget_tokens", 0))


def thinking_of(effort: Any, claude: Generation | None, limit: int, messages: list[dict[str, Any]]) -> Thinking:
    """What reasoning_effort becomes. Nothing for models that do not think, or whose name tells no version.

    `limit`: the most output tokens; 0 = nobody set one.
    """
    if effort is None:
        return Thinking()
    if effort != "none" and effort not in BUDGETS:
        raise not_translatable(f"reasoning_effort: {effort!r} is none of none, {', '.join(BUDGETS)}.")
    if claude is None:
        return Thinking()
    if effort == "none":
        return _none(claude)
    if claude.is_adaptive:
        level = {"minimal": "low", "xhigh": "xhigh" if claude.has_xhigh else "high"}.get(effort, effort)
        # Later models think unseen unless told otherwise.
        return Thinking({"type": "adaptive", "display": "summarized"}, level)
    if not claude.has_budget or _goes_on(messages):
        return Thinking()
    # What is thought counts into the limit: half of it at least is left for the answer, where the least budget fits.
    budget = max(LEAST_BUDGET, min(BUDGETS[effort], limit // 2)) if limit else BUDGETS[effort]
    return Thinking({"type": "enabled", "budget_tokens": budget}) if not limit or budget < limit else Thinking()


def _none(claude: Generation) -> Thinking:
    """The least a model can do stands for none where it cannot be switched off."""
    if not claude.thinks_unasked:
        return Thinking()
    return Thinking({"type": claude.unthinking}) if claude.unthinking else Thinking(effort="low")


def _goes_on(messages: list[dict[str, Any]]) -> bool:
    """Whether the answer is one that began without thinking: a budget is refused then."""
    if messages[-1]["role"] == "assistant":
        return True
    if not any(block["type"] == "tool_result" for block in messages[-1]["content"]):
        return False
    turns: list[list[Block]] = [message["content"] for message in messages if message["role"] == "assistant"]
    return bool(turns) and turns[-1][0]["type"] not in KINDS


def kept_in(message: dict[str, Any]) -> list[Block]:
    """The blocks an assistant's message of an earlier turn brings back: DAC's own, or LiteLLM's `thinking_blocks`."""
    extra = (message.get("extra_content") or {}).get("anthropic") or {}
    blocks = extra.get("thinking") or message.get("thinking_blocks") or []
    if not all(block["type"] in KINDS for block in blocks):
        raise not_translatable("messages: extra_content.anthropic.thinking holds blocks that are no thinking.")
    return list(blocks)


def put_back(kept: list[Block], others: list[Block]) -> list[Block]:
    """A turn's blocks with what was thought in its places; alone it cannot stand, and never at the end."""
    made = list(others)
    if made:
        for number, block in enumerate(kept):
            place = block.get("index", number)
            own = {name: value for name, value in block.items() if name in ("type", "thinking", "signature", "data")}
            made.insert(max(0, min(place, len(made) - 1)), own)
    return made


class Thoughts:
    """The blocks of thinking in an answer, gathered until each is whole."""

    def __init__(self) -> None:
        self._open: dict[int, dict[str, list[str]]] = {}
        self._bytes = 0
        self.texts: list[str] = []
        self.kept: list[Block] = []

    def whole(self, index: int, block: dict[str, Any]) -> Block | None:
        """Takes in a block; as it is to be sent back, or None when nothing signs it."""
        if block.get("thinking"):
            self.texts.append(str(block["thinking"]))
        names = ("type", "data") if block["type"] == "redacted_thinking" else ("type", "thinking", "signature")
        made = {"index": index, **{name: str(block.get(name) or "") for name in names}}
        if not made[names[-1]]:
            return None
        self.kept.append(made)
        return made

    def begin(self, index: int, block: dict[str, Any]) -> None:
        """A block of a stream begins."""
        self._open[index] = {name: [str(value)] for name, value in block.items() if value is not None}

    def more(self, index: int, delta: dict[str, Any]) -> str:
        """A piece of an open block; the text in it."""
        text = str(delta.get("thinking") or "")
        parts = self._open.get(index)
        for name in ("thinking", "signature"):
            piece = str(delta.get(name) or "")
            self._bytes += len(piece)
            if parts is not None and piece:
                parts.setdefault(name, []).append(piece)
        if self._bytes > MAX_KEPT_BYTES:
            # Only a whole block can be sent back.
            self._open.pop(index, None)
        return text

    def close(self, index: int) -> Block | None:
        """A block of a stream ends: see whole."""
        parts = self._open.pop(index, None)
        return self.whole(index, {name: "".join(pieces) for name, pieces in parts.items()}) if parts else None
