"""Checks an export of DAC's audit log without DAC: the standard library and the package `cryptography`, nothing else.

    python verify_dac_audit.py [FOLDER] [--key KEY] [--checkpoint FILE] [--witness KEY]

--key is the log's verifier key as you were given it, in person or on paper. Without it the key in the folder is
taken, and a forger could have put another one there. --checkpoint is a checkpoint that you kept: that of the export.
--witness is the verifier key of a witness, who must have cosigned the checkpoint (`dac audit export --cosigned`).
"""

from __future__ import annotations

import argparse
import base64
import datetime
import hashlib
import json
import pathlib
import sys
from collections.abc import Iterator

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

HEADER = "dac-audit/v1\n"
FIELDS = {"action", "actor", "commitment", "cost_nano_usd", "decision", "id", "kind", "org_id", "org_seq", "target"}
FIELDS |= {"time", "trace_id"}
HEADS, START = "heads.json", "start.json"
SIGNATURE, COSIGNATURE = b"\x01", b"\x04"
"""What a verifier key begins with: a log's, a witness's."""
MOST_S = 253_402_300_799
"""The end of the year 9999."""
DECLARING = ("audit.erase", "audit.prune")
"""What says in its record which entries before it have lost theirs."""
AFTER_JSON = 7
"""The field of dac.type.v1.AdminRecord that says it."""


class Wrong(Exception):
    """What does not hold."""


def _sha256(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()


def _bytes(text: str) -> bytes:
    raw = base64.b64decode(text, validate=True)
    if base64.b64encode(raw).decode() != text:
        raise Wrong("base64 that is not written the one way")
    return raw


def _read_key(key_line: str, kind: bytes) -> tuple[str, bytes, bytes]:
    """Name, id and bytes of a verifier key whose signatures are of that kind. Raises Wrong."""
    name, shown, encoded = key_line.strip().split("+", 2)
    key = _bytes(encoded)
    key_id = _sha256(name.encode() + b"\n" + key)[:4]
    if key[:1] != kind or len(key) != 33 or key_id.hex() != shown:
        raise Wrong("the verifier key is not one")
    return name, key_id, key[1:]


def cosigned_at(note: str, key_line: str) -> int:
    """When a witness cosigned a checkpoint, in POSIX seconds (C2SP tlog-cosignature v1, Ed25519). Raises Wrong."""
    name, key_id, key = _read_key(key_line, COSIGNATURE)
    text, _, signatures = note.rpartition("\n\n")
    for line in signatures.splitlines():
        _, signer, signature = line.split(" ")
        raw = _bytes(signature)
        if signer != name or raw[:4] != key_id:
            continue
        time_s = int.from_bytes(raw[4:12], "big")
        try:
            if len(raw) != 76:
                raise InvalidSignature
            Ed25519PublicKey.from_public_bytes(key).verify(
                raw[12:], f"cosignature/v1\ntime {time_s}\n{text}\n".encode()
            )
        except InvalidSignature:
            raise Wrong(f"the cosignature of {name} does not verify") from None
        return time_s
    raise Wrong(f"{name} has not cosigned the checkpoint (dac audit export --cosigned)")


def open_checkpoint(note: str, key_line: str) -> tuple[int, bytes]:
    """Size and root of a checkpoint that the key has signed. Raises Wrong."""
    name, key_id, key = _read_key(key_line, SIGNATURE)
    text, _, signatures = note.rpartition("\n\n")
    text += "\n"
    signed = False
    for line in signatures.splitlines():
        dash, signer, signature = line.split(" ")
        raw = _bytes(signature)
        if dash == "—" and signer == name and raw[:4] == key_id:
            try:
                Ed25519PublicKey.from_public_bytes(key).verify(raw[4:], text.encode())
            except InvalidSignature:
                raise Wrong("the checkpoint's signature does not verify") from None
            signed = True
    origin, size, root = text.split("\n")[:3]
    if not signed or origin != name:
        raise Wrong(f"the checkpoint is not signed by {name}")
    return int(size), _bytes(root)


def root_of(index: int, size: int, leaf: bytes, path: list[bytes]) -> bytes:
    """The root that an inclusion proof leads to (RFC 9162, 2.1.3.2). Raises Wrong."""
    if not 0 <= index < size:
        raise Wrong(f"index {index} is not in a log of {size}")
    node, last, root = index, size - 1, leaf
    for sibling in path:
        if last == 0:
            raise Wrong("the proof is too long")
        if node & 1 or node == last:
            root = _sha256(b"\x01" + sibling + root)
            while not node & 1 and node:
                node, last = node >> 1, last >> 1
        else:
            root = _sha256(b"\x01" + root + sibling)
        node, last = node >> 1, last >> 1
    if last:
        raise Wrong("the proof is too short")
    return root


def read_proof(text: str) -> tuple[int, list[bytes], str]:
    """Index, path and checkpoint of a c2sp.org/tlog-proof@v1. Raises Wrong."""
    head, _, note = text.partition("\n\n")
    lines = head.split("\n")
    if lines[0] != "c2sp.org/tlog-proof@v1" or not lines[1].startswith("index "):
        raise Wrong("the proof is not one")
    return int(lines[1][6:]), [_bytes(line) for line in lines[2:]], note


def read_leaf(text: str) -> dict[str, str]:
    """A leaf's fields. Raises Wrong for one that is not written the one way."""
    leaf: dict[str, str] = json.loads(text.removeprefix(HEADER))
    again = json.dumps(leaf, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
    if HEADER + again != text or set(leaf) != FIELDS or not all(isinstance(one, str) for one in leaf.values()):
        raise Wrong("the leaf is not canonical")
    return leaf


def proof_file(folder: pathlib.Path, index: int) -> pathlib.Path:
    """Where the proof of an entry stands."""
    return folder / "proofs" / f"{index // 1000:06d}" / f"{index}.tlog-proof"


def _varint(data: bytes, at: int) -> tuple[int, int]:
    number, shift = 0, 0
    while data[at] & 0x80:
        number |= (data[at] & 0x7F) << shift
        at, shift = at + 1, shift + 7
    return number | data[at] << shift, at + 1


def declared_by(record: bytes, number: int) -> set[int]:
    """The entries that a declaration, itself entry `number`, says are gone: "3-7,19". Raises Wrong."""
    at, told = 0, b""
    try:
        while at < len(record):
            tag, at = _varint(record, at)
            if tag & 7 != 2:
                raise Wrong("its record is none of a change")
            length, at = _varint(record, at)
            told = record[at : at + length] if tag >> 3 == AFTER_JSON else told
            at += length
        found: set[int] = set()
        for span in filter(None, json.loads(told)["entries"].split(",")):
            first, _, last = span.partition("-")
            if not 0 < int(first) <= int(last or first) < number:
                raise Wrong("it declares entries that are not before it")
            found.update(range(int(first), int(last or first) + 1))
    except (IndexError, KeyError, TypeError, ValueError, AttributeError):
        raise Wrong("its declaration of what is gone cannot be read") from None
    return found


def _entries(folder: pathlib.Path) -> Iterator[dict[str, str]]:
    with (folder / "entries.jsonl").open(encoding="utf-8") as lines:
        for line in lines:
            yield json.loads(line)


def check(folder: pathlib.Path, key: str, kept: str | None = None) -> tuple[int, int, int]:
    """Entries, how many of them have no record any more, all declared, and the log's size. Raises Wrong."""
    note = (folder / "checkpoint").read_text(encoding="utf-8")
    size, root = open_checkpoint(note, key)
    if kept is not None and open_checkpoint(kept, key) != (size, root):
        raise Wrong("the export is not of the checkpoint that was kept: ask for one, or for a consistency proof")
    start, base, whose = check_start(folder, key)
    number, last, org_id = base, start - 1, whose
    missing: set[int] = set()
    declared: set[int] = set()
    for number, entry in enumerate(_entries(folder), base + 1):
        index, text = int(entry["index"]), entry["leaf"]
        try:
            proven, path, proof_note = read_proof(proof_file(folder, index).read_text(encoding="utf-8"))
            if proof_note != note or proven != index or index <= last:
                raise Wrong("its proof is of another checkpoint or place")
            if root_of(index, size, _sha256(b"\x00" + text.encode()), path) != root:
                raise Wrong("the log does not have it there")
            leaf = read_leaf(text)
            org_id = org_id or leaf["org_id"]
            if leaf["org_id"] != org_id or leaf["org_seq"] != str(number):
                raise Wrong(f"it is number {leaf['org_seq']} of organisation {leaf['org_id']}, and {number} is due")
            salt, record = _bytes(entry["salt"]), _bytes(entry["record"])
            if not salt and not record and not leaf["action"].startswith("audit."):
                missing.add(number)
            elif _sha256(b"c/v1" + salt + record).hex() != leaf["commitment"]:
                raise Wrong("its record is not what it commits to")
            elif leaf["kind"] == "change" and leaf["action"] in DECLARING:
                declared |= declared_by(record, number)
        except (Wrong, ValueError, KeyError, OSError) as error:
            raise Wrong(f"entry {index}: {error}") from None
        last = index
    if missing - declared:
        raise Wrong(f"number {min(missing - declared)}: its record is missing, and no later entry declares that")
    return number - base, len(missing), size


def _told(folder: pathlib.Path, key: str, name: str, kind: str) -> tuple[int, dict[str, str], str, int, str] | None:
    """A line of a leaf of the log's own: index, leaf, organisation, its number, what the target says before the root.

    Behind that index the log has a leaf with the root over one line for each organisation: its id, the number of an
    entry, and a hash that hides it from the others. None = the export has no such file. Raises Wrong.
    """
    try:
        told = json.loads((folder / name).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    note = (folder / "checkpoint").read_text(encoding="utf-8")
    size, root = open_checkpoint(note, key)
    try:
        index, text = int(told["index"]), told["leaf"]
        proven, path, proof_note = read_proof(proof_file(folder, index).read_text(encoding="utf-8"))
        if proof_note != note or proven != index:
            raise Wrong("the proof is of another checkpoint or place")
        if root_of(index, size, _sha256(b"\x00" + text.encode()), path) != root:
            raise Wrong("the log does not have the leaf there")
        leaf = read_leaf(text)
        if leaf["kind"] != kind or leaf["action"] != f"audit.{kind}":
            raise Wrong(f"the leaf is not one of {kind}")
        line, line_path = told["line"], [_bytes(one) for one in told["line_path"]]
        lines_root = root_of(int(told["place"]), int(told["lines"]), _sha256(b"\x00" + line.encode()), line_path)
        said, _, said_root = leaf["target"].rpartition(":")
        if said_root != lines_root.hex():
            raise Wrong("the line is not one of the leaf's")
        org_id, number = line.split(" ")[:2]
        return index, leaf, org_id, int(number), said
    except (ValueError, KeyError, OSError, AttributeError) as error:
        raise Wrong(f"{kind}: {error}") from None
    except Wrong as error:
        raise Wrong(f"{kind}: {error}") from None


def check_start(folder: pathlib.Path, key: str) -> tuple[int, int, str]:
    """With which entry the log begins, the number of the organisation's last one before it, and the organisation.

    Entries before it were dropped. Without such a leaf nothing was: (0, 0, ""). Raises Wrong.
    """
    told = _told(folder, key, START, "start")
    if told is None:
        return 0, 0, ""
    index, _, org_id, number, said = told
    word, _, start = said.partition(":")
    if word != "start" or not start.isdecimal() or int(start) > index or number < 1:
        raise Wrong("start: the leaf says no start that is before it")
    return int(start), number, org_id


def check_heads(folder: pathlib.Path, key: str) -> tuple[int, int, str] | None:
    """Up to where the export is shown to be whole: its entries there, the index in the log, the time; None = not shown.

    Raises Wrong.
    """
    told = _told(folder, key, HEADS, "heads")
    if told is None:
        return None
    index, leaf, org_id, last, said = told
    start, base, whose = check_start(folder, key)
    try:
        counted = [read_leaf(entry["leaf"])["org_id"] for entry in _entries(folder) if int(entry["index"]) < index]
    except (ValueError, KeyError, OSError) as error:
        raise Wrong(f"heads: {error}") from None
    if said != "heads" or index < start:
        raise Wrong("heads: the leaf says no numbers, or is one that was dropped")
    number = base + len(counted)
    if {whose or org_id, *counted} != {org_id} or number != last:
        raise Wrong(f"heads: organisation {org_id} had {last} entries by then, and {number} of them are here")
    return len(counted), index, leaf["time"]


def main() -> int:
    """Prints what holds and what cannot be known; 1 when something is wrong."""
    asked = argparse.ArgumentParser(description="Checks an export of DAC's audit log without DAC.")
    asked.add_argument("folder", nargs="?", type=pathlib.Path, default=pathlib.Path(__file__).parent)
    asked.add_argument("--key", help="the log's verifier key, as you were given it")
    asked.add_argument("--checkpoint", type=pathlib.Path, help="a checkpoint that you kept")
    asked.add_argument("--witness", help="the verifier key of a witness, who must have cosigned the checkpoint")
    given = asked.parse_args()
    try:
        key = given.key or (given.folder / "verifier-key").read_text(encoding="utf-8")
        kept = given.checkpoint.read_text(encoding="utf-8") if given.checkpoint else None
        entries, redacted, size = check(given.folder, key, kept)
        start, base, _ = check_start(given.folder, key)
        whole = check_heads(given.folder, key)
        note = (given.folder / "checkpoint").read_text(encoding="utf-8")
        seen = cosigned_at(note, given.witness) if given.witness else None
    except (Wrong, ValueError, OSError) as error:
        print(f"WRONG: {error}")
        return 1
    print(f"OK: {entries} entries, numbered without a gap, stand in the signed log of {size} entries.")
    if start:
        print(f"    The log begins with entry {start}, as it declares: {base} earlier ones of these were dropped.")
    print(
        f"    {entries - redacted} records are what their leaves commit to; {redacted} are erased, as later ones say."
    )
    if not given.key:
        print("NOT KNOWN: whether the key is the log's own: it came with the export. Give the one you trust: --key.")
    if seen is not None:
        at = datetime.datetime.fromtimestamp(min(seen, MOST_S), datetime.timezone.utc)  # noqa: UP017
        print(f"OK: the witness has cosigned that log on {at:%Y-%m-%d %H:%M:%S} UTC.")
    if kept is None and seen is None:
        print("NOT KNOWN: whether the log was rewritten as a whole: that needs a checkpoint kept elsewhere.")
    if whole is None:
        print("NOT KNOWN: whether the organisation has other entries than these: the export has no heads.")
    else:
        print(f"    Nothing is left out up to entry {whole[1]} of the log ({whole[2]}): {whole[0]} of the entries.")
        print("NOT KNOWN: whether the organisation has later entries than the last one here.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
