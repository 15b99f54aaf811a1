"""Claude's generations: what the name of a model tells about it.

A rule by family and version, not a table of models: a name that is not known yet is taken as its version says. Each
rule is Anthropic's documentation of 2026-11, by the page named there; a name without a version tells nothing.
"""

import re
from typing import NamedTuple

FAMILIES = ("opus", "sonnet", "haiku", "fable", "mythos")
_NAME = re.compile(r"claude-(?:[a-z]+-)?(\d{1,2})(?!\d)(?:[.-](\d{1,2})(?!\d))?")
_NEVER = (99, 0)
_UNFORCED = {"opus": (5, 5), "sonnet": (5, 5), "fable": (5, 1), "mythos": (5, 1)}
"""Family → the first version that cannot be forced to call a tool. Haiku is not among them."""


class Generation(NamedTuple):
    """A model's family, empty for the oldest, and its version."""

    family: str
    version: tuple[int, int]

    @property
    def continues(self) -> bool:
        """It goes on with a begun answer. ("Errors: prefill not supported": not from 4.6 on.)"""
        return self.version <= (4, 5)

    @property
    def has_budget(self) -> bool:
        """It thinks within a budget of tokens. ("Extended thinking": 3.7 to 4.5; deprecated on 4.6, refused after.)"""
        return (3, 7) <= self.version <= (4, 5)

    @property
    def is_adaptive(self) -> bool:
        """It decides itself how much it thinks, by an effort. ("Thinking", "Effort": from 4.6 on.)"""
        return self.version >= (4, 6)

    @property
    def thinks_unasked(self) -> bool:
        """It thinks when nobody says anything about it. ("Troubleshooting thinking": from 5 on.)"""
        return self.version >= (5, 0)

    @property
    def unthinking(self) -> str:
        """The type of thinking that switches it off; empty when nothing does. ("Troubleshooting thinking".)"""
        if self.family in ("opus", "sonnet") and self.version == (5, 0):
            return "disabled"
        return {("haiku", (5, 5)): "disabled", ("sonnet", (5, 5)): "between_tools"}.get(self, "")

    @property
    def has_xhigh(self) -> bool:
        """It knows the effort between high and max. ("Effort": from 4.7 on.)"""
        return self.version >= (4, 7)

    @property
    def samples(self) -> bool:
        """It takes a temperature and top_p. ("Thinking: sampling parameters": not from 4.7 on.)"""
        return self.version <= (4, 6)

    @property
    def samples_by_one(self) -> bool:
        """It takes a temperature or top_p, not both. ("Migrating to Claude 4.5": from 4.1 on.)"""
        return self.version >= (4, 1)

    @property
    def can_be_forced(self) -> bool:
        """It can be made to call a tool. ("Thinking: response prefill and forced tool use".)"""
        return self.version < _UNFORCED.get(self.family, _NEVER)

    @property
    def has_schemas(self) -> bool:
        """It is held to JSON schemas. ("Structured outputs": from 4.5 on.)"""
        return self.version >= (4, 5)


def generation_of(upstream_name: str) -> Generation | None:
    """What a model's name tells; None when it names no version of Claude."""
    found = _NAME.search(upstream_name)
    if found is None:
        return None
    family = next((one for one in FAMILIES if one in upstream_name), "")
    return Generation(family, (int(found[1]), int(found[2] or 0)))
