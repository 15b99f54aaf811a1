"""What DAC itself put into a context: how it is labelled, and how it is known again so that it is never kept as new."""

from __future__ import annotations

import re

BEGIN, END = "<dac_memory>", "</dac_memory>"
_BLOCK = re.compile(r"<dac_memory>.*?(?:</dac_memory>|\Z)", re.DOTALL | re.IGNORECASE)
_MARK = re.compile(r"<(?=/?dac_memory)", re.IGNORECASE)


def labelled(heading: str, lines: list[str]) -> str:
    """A block of data. What is inside cannot end it."""
    inside = "\n".join(_MARK.sub("\u2039", line) for line in lines)
    return f"{BEGIN}\n{heading}\n{inside}\n{END}"


def without_recalled(text: str) -> str:
    """A text without the blocks that DAC put there."""
    return _BLOCK.sub("", text).strip() if _MARK.search(text) else text
