"""The tree of a thread without its texts: lines, forks, what a merge brings, what only one branch holds. Pure."""

from __future__ import annotations

import datetime as dt
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from services.memory.conversations.threads import MAIN, PARTIAL, Branch, BranchStats


@dataclass(frozen=True, slots=True)
class Node:
    """A message without its text."""

    message_id: str
    parent_id: str
    """Empty = the first."""
    position: int
    role: str = "user"
    tokens_estimated: int = 0
    model: str = ""
    status: str = "COMPLETE"
    created_at: dt.datetime = dt.datetime.min
    copied_from: str = ""
    deleted: bool = False

    @property
    def origin(self) -> str:
        """The message that it says again, or itself."""
        return self.copied_from or self.message_id


class Tree:
    """All messages of one thread."""

    def __init__(self, nodes: Iterable[Node]) -> None:
        self.nodes = {node.message_id: node for node in nodes}
        self._children: dict[str, set[str]] = defaultdict(set)
        for node in self.nodes.values():
            self._children[node.parent_id].add(node.message_id)

    def line(self, head: str) -> list[Node]:
        """From the first message to `head`, deleted ones too."""
        found: list[Node] = []
        while head and head in self.nodes:
            found.append(self.nodes[head])
            head = self.nodes[head].parent_id
        return found[::-1]

    def living_head(self, message_id: str) -> str:
        """The message, or the nearest one before it that is not deleted; empty = none."""
        while message_id and self.nodes[message_id].deleted:
            message_id = self.nodes[message_id].parent_id
        return message_id

    def brought(self, source: str, target: str) -> list[Node]:
        """What a merge appends: what the source's line says and the target's does not, in its order."""
        there = self.line(target)
        said = {node.origin for node in there} | {node.message_id for node in there}
        return [node for node in self.line(source) if not node.deleted and node.origin not in said]

    def is_before(self, message_id: str, head: str) -> bool:
        """Whether `head`'s line goes through a message; nothing is before everything."""
        return not message_id or any(node.message_id == message_id for node in self.line(head))

    def only_held_by(self, branch: Branch, others: Sequence[Branch]) -> list[Node]:
        """The messages, newest first, that nobody reaches without this branch; what another way begins at stays."""
        held = {node.message_id for other in others for node in self.line(other.head)}
        alone: dict[str, Node] = {}
        for node in reversed(self.line(branch.head)):
            below = [node, *self._below(node.message_id, alone)]
            if any(one.message_id in held or (not one.deleted and one is not node) for one in below):
                break
            alone |= {one.message_id: one for one in below}
        return list(alone.values())

    def _below(self, message_id: str, known: Mapping[str, Node]) -> list[Node]:
        """What follows a message, on every way, but what is known."""
        found: list[Node] = []
        ahead = [message_id]
        while ahead:
            children = [one for one in self._children[ahead.pop()] if one not in known]
            found += [self.nodes[one] for one in children]
            ahead += children
        return found

    def stats(self, branch: Branch, main: Branch) -> BranchStats:
        """Counts of a branch beside "main"."""
        line = [node for node in self.line(branch.head) if not node.deleted]
        trunk = [node for node in self.line(main.head) if not node.deleted]
        here, there = {node.message_id for node in line}, {node.message_id for node in trunk}
        roles = [node.role for node in line]
        return BranchStats(
            branch,
            message_count=len(line),
            by_role={role: roles.count(role) for role in sorted(set(roles))},
            partial=sum(node.status == PARTIAL for node in line),
            tokens_estimated=sum(node.tokens_estimated for node in line),
            ahead_of_main=len(here - there),
            behind_main=len(there - here),
            models=tuple(sorted({node.model for node in line if node.model})),
            first_at=line[0].created_at if line else None,
            last_at=line[-1].created_at if line else None,
        )


def branch_with_head(branches: Sequence[Branch], message_id: str) -> Branch | None:
    """The branch that goes on from a message: the active one, else "main", else the oldest."""
    there = [branch for branch in branches if branch.head == message_id]
    return min(there, key=lambda one: (not one.active, one.branch_id != MAIN, one.created_at), default=None)
