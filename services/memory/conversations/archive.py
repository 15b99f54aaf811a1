"""Whole conversations: their tree in pages, as a file, and back from one."""

from __future__ import annotations

import dataclasses
import datetime as dt
import hashlib
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from mesh.fair_share import in_turn
from services.memory import errors
from services.memory.config import MemoryConfig
from services.memory.conversations.archive_store import ArchiveStats, Imported, PostgresArchiveStore, Whole
from services.memory.conversations.file import FORMAT, ConversationFile, checked, dated, derived_id, renamed
from services.memory.conversations.input import checked_thread_id, make_token, read_position_token
from services.memory.conversations.markdown import TreeComment, head_of, section_of
from services.memory.conversations.threads import Branch, Limits, Thread
from services.memory.conversations.tree import Node
from services.memory.conversations.window import Message
from services.memory.viewers import Viewer

FORMS = ("json", "markdown")
DEFAULT_PAGE, MAX_PAGE = 500, 1000
_READ_AT_ONCE = 200
_TOKENS_AT_ONCE = 500_000
"""About two megabytes of text."""


class Encoder(Protocol):
    """Parts of a file as JSON."""

    def thread(self, thread: Thread) -> str:
        """A thread."""

    def branch(self, branch: Branch) -> str:
        """A branch."""

    def message(self, message: Message) -> str:
        """A message."""


@dataclass(frozen=True, slots=True)
class TreeNode:
    """A message in its tree."""

    message: Message
    children: tuple[str, ...]
    depth: int
    active: bool
    head_of: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class TreePage:
    """A page of a tree, oldest first."""

    thread: Thread
    branches: Sequence[Branch]
    roots: tuple[str, ...]
    nodes: Sequence[TreeNode]
    next_page_token: str


class ConversationArchive:
    """Reads whole conversations and makes them from files."""

    def __init__(self, store: PostgresArchiveStore, config: MemoryConfig, *, clock: Callable[[], dt.datetime]) -> None:
        self._store, self._config, self._clock = store, config, clock
        self._limits = Limits(config.thread_max_messages, config.thread_max_branches, config.thread_max_per_user)

    async def find(self, viewer: Viewer, thread_id: str) -> Thread:
        """One thread. Raises NOT_FOUND."""
        return await self._store.find(viewer, checked_thread_id(thread_id))

    async def full(
        self, viewer: Viewer, thread_id: str, page_size: int, page_token: str, *, include_deleted: bool
    ) -> TreePage:
        """A page of a thread's tree. Raises NOT_FOUND."""
        if page_size < 0:
            raise errors.invalid("page_size", f"must not be negative, not {page_size}")
        whole = await self._store.whole(viewer, checked_thread_id(thread_id))
        after = read_position_token(page_token)
        nodes = _in_order(whole)
        wanted = next(
            _portions([one for one in nodes if one.position > after], min(page_size or DEFAULT_PAGE, MAX_PAGE)), []
        )
        messages = await self._store.at(viewer, thread_id, [one.position for one in wanted])
        children: dict[str, list[str]] = {}
        depths: dict[str, int] = {}
        for node in nodes:
            children.setdefault(node.parent_id, []).append(node.message_id)
            depths[node.message_id] = depths.get(node.parent_id, -1) + 1
        active = {
            node.message_id for branch in whole.branches if branch.active for node in whole.tree.line(branch.head)
        }
        parents = {node.message_id: node.parent_id for node in nodes}
        shown = [
            TreeNode(
                _shown(message, parents, include_deleted),
                tuple(children.get(message.message_id, ())),
                depths.get(message.message_id, 0),
                message.message_id in active,
                tuple(branch.branch_id for branch in whole.branches if branch.head == message.message_id),
            )
            for message in messages
        ]
        last = wanted[-1].position if wanted else after
        token = make_token(str(last)) if nodes and last < nodes[-1].position else ""
        return TreePage(whole.thread, whole.branches, tuple(children.get("", ())), shown, token)

    async def export(
        self, viewer: Viewer, thread_id: str, form: str, encoder: Encoder, *, include_deleted: bool
    ) -> AsyncIterator[str]:
        """A thread as a file, in parts; all of one moment. Raises NOT_FOUND and INVALID_REQUEST."""
        form = form or "json"
        if form not in FORMS:
            raise errors.invalid("format", f'"{form[:40]}" is none of {", ".join(FORMS)}')
        whole = await self._store.whole(viewer, checked_thread_id(thread_id))
        document = self._document(viewer, whole, encoder, include_deleted=include_deleted)
        if form == "json":
            async for part in document:
                yield part
            return
        comment = TreeComment()
        yield comment.read(head_of(whole.thread))
        heads = [branch.head for branch in whole.branches if branch.active]
        line = whole.tree.line(heads[0] if heads else "")
        for portion in _portions([node for node in line if not node.deleted], _READ_AT_ONCE):
            for message in await self._store.at(viewer, thread_id, [node.position for node in portion]):
                yield comment.read(section_of(message))
        yield comment.head()
        async for part in document:
            yield comment.body(part)
        yield comment.tail()

    async def _document(
        self, viewer: Viewer, whole: Whole, encoder: Encoder, *, include_deleted: bool
    ) -> AsyncIterator[str]:
        branches = ",".join(map(encoder.branch, whole.branches))
        yield f'{{"format":"{FORMAT}","thread":{encoder.thread(whole.thread)},"branches":[{branches}],"messages":['
        nodes = _in_order(whole)
        parents = {node.message_id: node.parent_id for node in nodes}
        between = "\n"
        for portion in _portions(nodes, _READ_AT_ONCE):
            messages = await self._store.at(viewer, whole.thread.thread_id, [node.position for node in portion])
            for message in messages:
                yield between + encoder.message(_shown(message, parents, include_deleted))
                between = ",\n"
        yield "\n]}"

    async def bring(self, viewer: Viewer, file: ConversationFile, thread_id: str) -> tuple[Imported, ConversationFile]:
        """Makes the thread of a file, or finds it made before; and what was imported.

        Raises INVALID_REQUEST and ALREADY_EXISTS.
        """
        original, target = await in_turn(self._made_of, viewer, file, thread_id)
        return await self._store.bring(viewer, target, original, self._limits), target

    def _made_of(
        self, viewer: Viewer, file: ConversationFile, thread_id: str
    ) -> tuple[ConversationFile, ConversationFile]:
        """A file, checked, and what is made of it."""
        original = checked(file, max_bytes=self._config.max_message_bytes)
        chosen = thread_id or original.thread.thread_id or _id_of(viewer, original)
        return original, dated(renamed(original, checked_thread_id(chosen)), self._clock())

    async def stats(self, viewer: Viewer, user_id: str, *, everyone: bool) -> ArchiveStats:
        """Counts of the viewer's own threads, of a user's, or of everyone's. Raises PERMISSION_DENIED."""
        if not viewer.sees_all and (everyone or (user_id and user_id != viewer.user_id)):
            raise errors.others_threads()
        return await self._store.stats(viewer, user_id or viewer.user_id, everyone=everyone)


def _in_order(whole: Whole) -> list[Node]:
    """The nodes of a thread, oldest first, each behind the one that it follows."""
    nodes = sorted(whole.tree.nodes.values(), key=lambda node: node.position)
    known = whole.tree.nodes
    return [node if node.parent_id in known else dataclasses.replace(node, parent_id="") for node in nodes]


def _portions(nodes: Sequence[Node], most: int) -> Iterator[list[Node]]:
    """Nodes to read at once: at most so many, and not much more text than a message may have."""
    portion: list[Node] = []
    tokens = 0
    for node in nodes:
        if portion and (len(portion) >= most or tokens + node.tokens_estimated > _TOKENS_AT_ONCE):
            yield portion
            portion, tokens = [], 0
        portion.append(node)
        tokens += node.tokens_estimated
    if portion:
        yield portion


def _shown(message: Message, parents: dict[str, str], include_deleted: bool) -> Message:
    """A message as a file holds it; a deleted one only holds its place."""
    message = dataclasses.replace(message, parent_id=parents.get(message.message_id, ""))
    if message.deleted_at_s and not include_deleted:
        return dataclasses.replace(message, text="", openai_json="")
    return message


def _id_of(viewer: Viewer, file: ConversationFile) -> str:
    """The id of a thread that no file names: of the same content again the same one."""
    digest = hashlib.sha256()
    for message in file.messages:
        digest.update(f"{message.message_id}\0{message.parent_id}\0{message.role}\0{message.text}\0".encode())
    created_at_s = file.messages[0].created_at_s if file.messages else 0.0
    return derived_id(created_at_s, viewer.org_id, viewer.user_id, digest.hexdigest())
