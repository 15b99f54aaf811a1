"""Memories kept, superseded and forgotten inside a transaction that is open, each with its history."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from typing import Any

import msgspec

from services.memory.recall import memory_statements as sql
from services.memory.recall.memory import TURN, Keeping, Kept, Memory, Seen
from services.memory.recall.rows import inserted, memory_of, snapshot_of, text_id_of
from services.memory.sealing.sealing import OrgKey


async def keep_within(
    connection: Any,
    org_id: str,
    key: OrgKey,
    keepings: Sequence[Keeping],
    request_id: str,
    embedder_id: str,
    key_id: str,
) -> list[Kept]:
    """Saves memories inside a transaction that is open."""
    replaced = [(one, old) for one in keepings for old in one.supersedes]
    last, before, chain = await _begin(connection, org_id, keepings, len(keepings) + len(replaced), request_id)
    first = last - len(keepings) - len(replaced) + 1
    same = await _same_texts(connection, org_id, key, keepings)
    told: list[Kept] = []
    fresh: list[Keeping] = []
    for one in keepings:
        memory = one.memory
        place = _place(text_id_of(key, memory), memory)
        known = before.get((memory.user_id, one.ordinal))
        if known is not None:
            told.append(Kept(known, True))
        elif memory.kind != TURN and place in same:
            told.append(Kept(same[place], False, "same_text"))
        else:
            same[place] = memory.memory_id
            fresh.append(one)
            told.append(Kept(memory.memory_id, True))
    await connection.executemany(
        sql.INSERT,
        [
            inserted(org_id, key, one, first + at, chain.get(one.memory.memory_id, ""), request_id, embedder_id)
            for at, one in enumerate(fresh)
        ],
    )
    for one in fresh:
        if one.memory.kind != TURN:
            await tell(connection, org_id, key, one.memory, "created", key_id)
    kept = {one.memory.memory_id for one in fresh}
    for at, (one, old) in enumerate(replaced):
        if one.memory.memory_id in kept:
            await _supersede(connection, org_id, key, one.memory, old, first + len(keepings) + at, key_id)
    return told


def _place(text_id: int, memory: Any) -> tuple[int, int, str, str, str]:
    """What makes two memories the same one."""
    return text_id, memory.kind, memory.user_id, memory.agent_id, memory.thread_id


async def _same_texts(
    connection: Any, org_id: str, key: OrgKey, keepings: Sequence[Keeping]
) -> dict[tuple[int, int, str, str, str], str]:
    """What is there already and holds, by its place."""
    wanted = [text_id_of(key, one.memory) for one in keepings if one.memory.kind != TURN]
    if not wanted:
        return {}
    now = max(one.memory.created_at for one in keepings)
    return {
        (row["text_id"], row["kind"], row["user_id"], row["agent_id"], row["thread_id"]): str(row["memory_id"])
        for row in await connection.fetch(sql.SAME_TEXT, org_id, wanted, now)
    }


async def _begin(
    connection: Any, org_id: str, keepings: Sequence[Keeping], changes: int, request_id: str
) -> tuple[int, dict[tuple[str, int], str], dict[str, str]]:
    """The last number of so many changes; what the request saved before, by owner and ordinal; and for each turn, the
    one before it in its thread.
    """
    owners = list({one.memory.user_id for one in keepings})
    named = [one.previous_id for one in keepings if one.previous_id]
    turns = [one for one in keepings if one.memory.kind == TURN and one.memory.thread_id]
    first = _line(turns[0].memory) if turns else ("", "", "")
    row = await connection.fetchval(sql.BEGIN_KEEPING, org_id, changes, owners, request_id, named, *first)
    saved = msgspec.json.decode(row["saved"] or "[]", type=list[tuple[str, int, str]])
    there = {one.memory.memory_id for one in keepings} | set(row["there"] or ())
    last = {first: row["last_turn"] or ""}
    chain: dict[str, str] = {}
    for one in turns:
        memory, line = one.memory, _line(one.memory)
        if one.previous_id in there:
            chain[memory.memory_id] = one.previous_id
        else:
            if line not in last:
                last[line] = str(await connection.fetchval(sql.LAST_TURN, org_id, *line) or "")
            chain[memory.memory_id] = last[line]
        last[line] = memory.memory_id
    return row["last_seq"], {(owner, ordinal): memory_id for owner, ordinal, memory_id in saved}, chain


def _line(memory: Memory) -> tuple[str, str, str]:
    """Within what a turn has one before it."""
    return memory.thread_id, memory.user_id, memory.agent_id


async def _supersede(connection: Any, org_id: str, key: OrgKey, newer: Memory, old: str, seq: int, key_id: str) -> None:
    until = newer.valid_from or newer.created_at
    values = (newer.memory_id, until, newer.created_at, seq, old, newer.user_id)
    row = await connection.fetchrow(sql.SUPERSEDE, org_id, *values)
    if row is not None:
        await tell(connection, org_id, key, memory_of(key, row), "superseded", key_id)


async def tell(connection: Any, org_id: str, key: OrgKey, memory: Memory, action: str, key_id: str) -> None:
    """Adds to a memory's history."""
    snapshot, sealed = snapshot_of(key, memory)
    values = (memory.memory_id, memory.user_id, memory.updated_at, action, key_id, snapshot, sealed)
    await connection.execute(sql.HISTORY, org_id, *values)


async def forget_within(connection: Any, seen: Seen, values: tuple[Any, ...], now: dt.datetime) -> dict[str, str]:
    """Leaves tombstones of what fits; the owners by id. Windows that held its text are taken apart."""
    seq = await connection.fetchval(sql.NEXT, seen.org_id, 0)
    rows = await connection.fetch(sql.FORGET, *values, seq, now)
    if not rows:
        return {}
    ids = [row["memory_id"] for row in rows]
    unchained = await connection.execute(sql.UNCHAIN, seen.org_id, ids, seq + len(ids))
    await connection.fetchval(sql.NEXT, seen.org_id, len(ids) + int(str(unchained).removeprefix("UPDATE ")))
    return {str(row["memory_id"]): row["user_id"] for row in rows}
