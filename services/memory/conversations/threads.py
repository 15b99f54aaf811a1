"""The words of a conversation: thread, branch, what is to be saved and where. Plain data."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass, field

MAIN = "main"
"""The branch that every thread has."""
ROOT = "00000000-0000-0000-0000-000000000000"
"""As a parent: before the first message."""
COMPLETE, PARTIAL = "COMPLETE", "PARTIAL"
APPENDED_FROM = 1_000_000
"""The first ordinal of appended messages: an answer is never taken for a message of the turn that it answers."""
EDITED_FROM = 2_000_000
"""The ordinal of an edited message."""
MERGED_FROM = 3_000_000
"""The first ordinal of a merge's copies."""


@dataclass(frozen=True, slots=True)
class Thread:
    """A conversation."""

    thread_id: str
    title: str
    message_count: int
    """Messages that are not deleted, on all branches."""
    created_at: dt.datetime
    updated_at: dt.datetime
    user_id: str = ""
    """Whose it is; empty = the organisation's."""
    tags: tuple[str, ...] = ()
    model: str = ""
    parameters: str = ""
    """A JSON object, or empty."""
    active_branch: str = MAIN
    forked: bool = False
    """False: the tree is one line in the order of positions."""
    version: int = 1
    deleted_at: dt.datetime | None = None
    next_position: int = 0
    agent_id: str = ""
    """The agent that it is held with: its turns are that agent's memories; empty = no agent."""


@dataclass(frozen=True, slots=True)
class Branch:
    """A pointer to the last message of one way through a thread's tree."""

    branch_id: str
    name: str
    head: str = ""
    """The last message; empty while there is none."""
    head_position: int = -1
    forked_from: str = ""
    active: bool = False
    merge_request_id: str = ""
    """The last merge into this branch."""
    created_at: dt.datetime = dt.datetime.min
    updated_at: dt.datetime = dt.datetime.min


@dataclass(frozen=True, slots=True)
class Draft:
    """A message to save; (role, ordinal) makes it unique within its request."""

    message_id: str
    role: str
    text: str
    openai_json: str
    tokens_estimated: int
    model: str
    ordinal: int
    status: str = COMPLETE
    finish_reason: str = ""
    replaces: str = ""
    copied_from: str = ""


@dataclass(frozen=True, slots=True)
class Place:
    """Where messages shall go: nothing said = the active branch, or the branch of their own question."""

    branch_id: str = ""
    parent_id: str = ""
    new_branch: str | None = None
    """Not None = a new branch of this name ("" = one is made), also when the parent is a head."""

    @property
    def said(self) -> bool:
        """Whether the caller chose."""
        return bool(self.branch_id or self.parent_id) or self.new_branch is not None


@dataclass(frozen=True, slots=True)
class Saved:
    """What saving gave."""

    thread: Thread
    message_ids: list[str]
    """In the order of the drafts."""
    branch_id: str
    before: str
    """The message before this request's first one; empty = none."""


@dataclass(frozen=True, slots=True)
class Limits:
    """How large things may become; 0 = no limit."""

    messages: int = 0
    branches: int = 0
    threads_of_user: int = 0


@dataclass(frozen=True, slots=True)
class ThreadFilter:
    """Which threads to list."""

    tags: Sequence[str] = ()
    search: str = ""
    model: str = ""
    deleted: bool = False
    user_id: str = ""


@dataclass(frozen=True, slots=True)
class ThreadChange:
    """What changes of a thread; None stays."""

    title: str | None = None
    tags: tuple[str, ...] | None = None
    model: str | None = None
    parameters: str | None = None
    version: int = 0
    """Not 0 = only when the thread still has this version."""


@dataclass(frozen=True, slots=True)
class BranchStats:
    """Counts of a branch; deleted messages do not count."""

    branch: Branch
    message_count: int = 0
    by_role: dict[str, int] = field(default_factory=dict)
    partial: int = 0
    tokens_estimated: int = 0
    ahead_of_main: int = 0
    behind_main: int = 0
    models: tuple[str, ...] = ()
    first_at: dt.datetime | None = None
    last_at: dt.datetime | None = None
