"""Old entries of one organisation in a few bytes each: columns instead of lines, and the leaves' exact bytes back.

A leaf of 500 bytes says 32 bytes that are random (its commitment), 16 of an id, 16 of a trace; what is left is like its
neighbours'. So: those three as bytes, everything else as columns of JSON, deflated. An entry that does not come back
the same from its columns is kept as it is.
"""

from __future__ import annotations

import datetime as dt
import struct
import uuid
import zlib
from collections.abc import Iterable, Sequence
from itertools import accumulate
from typing import NamedTuple

import msgspec

from mesh.tlog.leaves import KINDS, Leaf, read_leaf, write_leaf

VERSION = 1
WINDOW = 4096
"""So many entries of the log are packed together, for each organisation that has one among them."""
_HEAD = struct.Struct(">BII")
"""The version, the number of entries, the length of the deflated columns; behind these the bytes."""
_EPOCH = dt.datetime(1970, 1, 1)
_MICROSECOND = dt.timedelta(microseconds=1)
_COMMITMENT, _ID, _TRACE = 32, 16, 16
# What small packs would otherwise spell out again and again. Changing it needs another VERSION.
_WORDS = (
    b'"key:0192-7000-8000-9000-a000-b000","user:operatorsystemservice:auditkey.createkey.revokebudget.setpolicy.set'
    b'provider.updatemodel:openai/gpt-4o-minimodel:anthropic/claude-sonnet-4-5model:google/gemini-2.5-flash","model:'
    b'"embeddings","embeddings","indeterminate","client_gone","refused","failed","unknown","done","done","done",'
    b'"chat","chat","chat","chat","ok","ok","ok","ok",null,null,null,null,1,1,1,1,1,1,1,1,[],{}'
)


class PackedEntry(NamedTuple):
    """An entry of the log as its table has it."""

    idx: int
    org_seq: int
    kind: int
    record_id: str
    position: int
    leaf: bytes


class _Columns(msgspec.Struct, array_like=True):
    """What is deflated. Lists go by entry; numbers are differences to the entry before."""

    org_id: str
    indexes: list[int]
    org_seqs: list[int]
    kinds: list[int]
    positions: list[int]
    times_us: list[int]
    costs: list[int]
    actions: list[str]
    actors: list[str]
    decisions: list[str]
    targets: list[str]
    traces: list[str | None]
    """None = 16 bytes behind the columns."""
    odd: dict[str, bytes]
    """By place: leaves that are kept as they are."""


_write, _read = msgspec.json.Encoder().encode, msgspec.json.Decoder(_Columns).decode


def _differences(numbers: Iterable[int]) -> list[int]:
    before, found = 0, []
    for number in numbers:
        found.append(number - before)
        before = number
    return found


def _time_us(text: str) -> int:
    return (dt.datetime.fromisoformat(text.removesuffix("Z")) - _EPOCH) // _MICROSECOND


def _time(time_us: int) -> str:
    return (_EPOCH + dt.timedelta(microseconds=time_us)).isoformat(timespec="microseconds") + "Z"


def _is_hex_of(text: str, count: int) -> bool:
    try:
        return bytes.fromhex(text).hex() == text and len(text) == 2 * count
    except ValueError:
        return False


def _plain(entry: PackedEntry, org_id: str) -> Leaf | None:
    """The leaf of an entry whose columns give it back; None for any other."""
    try:
        leaf = read_leaf(entry.leaf)
        as_columns = (leaf.id, leaf.org_id, leaf.org_seq, leaf.kind, leaf.cost_nano_usd, leaf.time)
        cost, time = str(int(leaf.cost_nano_usd)), _time(_time_us(leaf.time))
    except (ValueError, OverflowError):
        return None
    comes_back = (entry.record_id, org_id, str(entry.org_seq), KINDS.get(entry.kind), cost, time)
    return leaf if comes_back == as_columns and _is_hex_of(leaf.commitment, _COMMITMENT) else None


_BLANK = Leaf("", "", "00" * _COMMITMENT, "0", "", "", "", "", "", "", _time(0), "")
"""What the columns say of an entry that is kept as it is."""


def pack(org_id: str, entries: Sequence[PackedEntry]) -> bytes:
    """An organisation's entries, packed. Raises ValueError when they would not come back the same."""
    leaves = [_plain(entry, org_id) for entry in entries]
    told = [leaf or _BLANK for leaf in leaves]
    traced = [_is_hex_of(leaf.trace_id, _TRACE) for leaf in told]
    columns = _Columns(
        org_id,
        _differences(entry.idx for entry in entries),
        _differences(entry.org_seq for entry in entries),
        [entry.kind for entry in entries],
        _differences(entry.position for entry in entries),
        _differences(_time_us(leaf.time) for leaf in told),
        [int(leaf.cost_nano_usd) for leaf in told],
        [leaf.action for leaf in told],
        [leaf.actor for leaf in told],
        [leaf.decision for leaf in told],
        [leaf.target for leaf in told],
        [None if traced[at] else leaf.trace_id for at, leaf in enumerate(told)],
        {str(at): entry.leaf for at, entry in enumerate(entries) if leaves[at] is None},
    )
    deflater = zlib.compressobj(9, zlib.DEFLATED, -15, 9, zdict=_WORDS)
    deflated = deflater.compress(_write(columns)) + deflater.flush()
    packed = b"".join(
        (
            _HEAD.pack(VERSION, len(entries), len(deflated)),
            deflated,
            *(bytes.fromhex(leaf.commitment) for leaf in told),
            *(uuid.UUID(entry.record_id).bytes for entry in entries),
            *(bytes.fromhex(leaf.trace_id) for at, leaf in enumerate(told) if traced[at]),
        )
    )
    if unpack(packed) != list(entries):
        raise ValueError(f"{len(entries)} entries of organisation {org_id} do not come back from their pack")
    return packed


def unpack(packed: bytes) -> list[PackedEntry]:
    """The entries of a pack. Raises ValueError for what is none."""
    try:
        version, count, size = _HEAD.unpack_from(packed)
        if version != VERSION:
            raise ValueError(f"version {version} of packs is not known")
        commitments_at = _HEAD.size + size
        ids_at = commitments_at + count * _COMMITMENT
        traces_at = ids_at + count * _ID
        columns = _read(zlib.decompressobj(-15, zdict=_WORDS).decompress(packed[_HEAD.size : commitments_at]))
        hexadecimal = packed[commitments_at:].hex()
        return _entries(columns, hexadecimal, (ids_at - commitments_at) * 2, (traces_at - commitments_at) * 2)
    except (struct.error, zlib.error, LookupError, OverflowError) as error:
        raise ValueError(f"the pack is damaged: {error}") from None


def _entries(columns: _Columns, hexadecimal: str, ids_at: int, traces_at: int) -> list[PackedEntry]:
    found = []
    rows = zip(
        accumulate(columns.indexes),
        accumulate(columns.org_seqs),
        columns.kinds,
        accumulate(columns.positions),
        accumulate(columns.times_us),
        columns.costs,
        columns.actions,
        columns.actors,
        columns.decisions,
        columns.targets,
        columns.traces,
        strict=True,
    )
    for at, (idx, org_seq, kind, position, time_us, cost, action, actor, decision, target, trace) in enumerate(rows):
        raw = hexadecimal[ids_at + 32 * at : ids_at + 32 * at + 32]
        record_id = f"{raw[:8]}-{raw[8:12]}-{raw[12:16]}-{raw[16:20]}-{raw[20:]}"
        commitment = hexadecimal[64 * at : 64 * at + 64]
        if trace is None:
            trace = hexadecimal[traces_at : traces_at + 2 * _TRACE]
            traces_at += 2 * _TRACE
        leaf = columns.odd.get(str(at)) if columns.odd else None
        if leaf is None:
            kind_name, number, when = KINDS[kind], str(org_seq), _time(time_us)
            org_id = columns.org_id
            leaf = write_leaf(
                Leaf(
                    action,
                    actor,
                    commitment,
                    str(cost),
                    decision,
                    record_id,
                    kind_name,
                    org_id,
                    number,
                    target,
                    when,
                    trace,
                )
            )
        found.append(PackedEntry(idx, org_seq, kind, record_id, position, leaf))
    return found
