"""Rows to threads, branches and messages and back: the one place where their texts are sealed and opened."""

from __future__ import annotations

import datetime as dt
from collections import Counter
from collections.abc import Sequence
from itertools import chain, repeat
from typing import Any

import msgspec

from services.memory.conversations.terms import terms_of
from services.memory.conversations.threads import ROOT, Branch, Thread
from services.memory.conversations.tree import Node
from services.memory.conversations.window import Message
from services.memory.sealing.sealing import OrgKey

THREAD_COLUMNS = """thread_id, title, message_count, created_at, updated_at, user_id, tags, model, parameters,
    active_branch, forked, version, deleted_at, next_position, agent_id, sealed"""
"""What `thread_of` reads."""
MESSAGE_COLUMNS = """message_id, thread_id, role, text, openai_json, tokens_estimated, request_id, model, position,
    created_at, parent_id, branch_id, status, finish_reason, replaces, copied_from, deleted_at, sealed"""
"""What `message_of` reads."""
INSERTED_AT_ONCE = 250
"""How many messages one statement inserts: everybody else waits while their words are numbered."""


def about_thread(thread_id: str) -> str:
    """What a thread's seal is bound to; it holds title, tags (a JSON list) and parameters."""
    return f"threads/{thread_id}"


def about_message(message_id: str) -> str:
    """What a message's seal is bound to; it holds text and openai_json."""
    return f"messages/{message_id}"


def about_branch(thread_id: str, branch_id: str) -> str:
    """What a branch's seal is bound to; it holds name."""
    return f"branches/{thread_id}/{branch_id}"


def numbers_of(key: OrgKey, text: str) -> list[int]:
    """The numbers of a text's words, sorted, each once: what search and the title's filter compare."""
    return sorted({key.term_id(term) for term in terms_of(text)})


def message_numbers(key: OrgKey, text: str) -> list[int]:
    """The numbers of a message's words, sorted, each as often as the text says it: search weighs by that."""
    said = Counter(terms_of(text))
    return sorted(chain.from_iterable(repeat(key.term_id(term), count) for term, count in said.items()))


def tag_number(key: OrgKey, tag: str) -> int:
    """The number of a tag; a tag never looks like a word."""
    return key.term_id(f"tag:{tag}")


def thread_values(
    key: OrgKey, thread_id: str, title: str, tags: Sequence[str], parameters: str
) -> tuple[str, list[str], list[int], list[int], str, bytes | None]:
    """title, tags, tag_terms, title_terms, parameters, sealed."""
    numbers = [tag_number(key, tag) for tag in tags], numbers_of(key, title)
    fields = {"title": title, "tags": msgspec.json.encode(list(tags)).decode(), "parameters": parameters}
    if not (title or tags or parameters):
        return "", [], *numbers, "", None
    sealed = key.seal(about_thread(thread_id), fields)
    return (title, list(tags), *numbers, parameters, None) if sealed is None else ("", [], *numbers, "", sealed)


def thread_of(key: OrgKey, row: Any) -> Thread:
    """A thread with its texts open."""
    values = dict(row)
    sealed = values.pop("sealed")
    values["tags"] = tuple(values["tags"])
    if sealed is not None:
        fields = key.open(about_thread(values["thread_id"]), sealed)
        values |= {"title": fields["title"], "parameters": fields["parameters"]}
        values["tags"] = tuple(msgspec.json.decode(fields["tags"], type=list[str]))
    return Thread(**values)


def branch_of(key: OrgKey, row: Any, active: str) -> Branch:
    """A branch with its name open."""
    branch_id, name = row["branch_id"], row["name"]
    if row["sealed"] is not None:
        name = key.open(about_branch(row["thread_id"], branch_id), row["sealed"])["name"]
    position = row["head_position"]
    return Branch(
        branch_id,
        name,
        head=_id(row["head_message_id"]),
        head_position=-1 if position is None else position,
        forked_from=_id(row["forked_from"]),
        active=branch_id == active,
        merge_request_id=row["merge_request_id"],
        created_at=row["created_at"],
        updated_at=row["updated_at"],
    )


def message_of(key: OrgKey, row: Any) -> Message:
    """A message with its texts open."""
    values = dict(row)
    sealed = values.pop("sealed")
    if sealed is not None:
        values |= key.open(about_message(str(values["message_id"])), sealed)
    for name in ("message_id", "parent_id", "replaces", "copied_from"):
        values[name] = _id(values[name])
    values["created_at_s"] = values.pop("created_at").timestamp()
    deleted_at = values.pop("deleted_at")
    values["deleted_at_s"] = deleted_at.timestamp() if deleted_at else 0.0
    return Message(**values)


def node_of(row: Any) -> Node:
    """A message without its text."""
    values = dict(row)
    for name in ("message_id", "parent_id", "copied_from"):
        values[name] = _id(values[name])
    values["deleted"] = values.pop("deleted_at") is not None
    return Node(**values)


_INSERT_MESSAGES = """INSERT INTO messages (org_id, thread_id, position, message_id, parent_id, branch_id, role, text,
    openai_json, tokens_estimated, request_id, ordinal, model, created_at, status, finish_reason, replaces, copied_from,
    sealed, terms)
    SELECT $1, $2, one.position, one.message_id, one.parent_id, one.branch_id, one.role, one.text, one.openai_json,
        one.tokens, one.request_id, one.ordinal, one.model, one.created_at, one.status, one.finish_reason, one.replaces,
        one.copied_from, one.sealed, one.terms::bigint[]
    FROM unnest($3::bigint[], $4::uuid[], $5::uuid[], $6::text[], $7::text[], $8::text[], $9::text[], $10::bigint[],
        $11::text[], $12::integer[], $13::text[], $14::timestamptz[], $15::text[], $16::text[], $17::uuid[],
        $18::uuid[], $19::bytea[], $20::text[])
        AS one (position, message_id, parent_id, branch_id, role, text, openai_json, tokens, request_id, ordinal, model,
        created_at, status, finish_reason, replaces, copied_from, sealed, terms)"""


async def insert_messages(
    connection: Any, key: OrgKey, org_id: str, thread_id: str, messages: Sequence[tuple[Message, int]]
) -> None:
    """Inserts messages as they are, each with its ordinal, texts sealed as the key says. Under the thread's lock."""
    plain = [message for message, _ in messages]
    sealed = [
        key.seal(about_message(one.message_id), {"text": one.text, "openai_json": one.openai_json}) for one in plain
    ]
    await connection.execute(
        _INSERT_MESSAGES,
        org_id,
        thread_id,
        [one.position for one in plain],
        [one.message_id for one in plain],
        [one.parent_id or ROOT for one in plain],
        [one.branch_id for one in plain],
        [one.role for one in plain],
        ["" if seal is not None else one.text for one, seal in zip(plain, sealed, strict=True)],
        ["" if seal is not None else one.openai_json for one, seal in zip(plain, sealed, strict=True)],
        [one.tokens_estimated for one in plain],
        [one.request_id for one in plain],
        [ordinal for _, ordinal in messages],
        [one.model for one in plain],
        [dt.datetime.fromtimestamp(one.created_at_s, dt.UTC) for one in plain],
        [one.status for one in plain],
        [one.finish_reason for one in plain],
        [one.replaces or None for one in plain],
        [one.copied_from or None for one in plain],
        sealed,
        ["{" + ",".join(map(str, message_numbers(key, one.text))) + "}" for one in plain],
    )


def _id(value: Any) -> str:
    return "" if value is None or str(value) == ROOT else str(value)
