"""Other people's test vectors, read straight from their archives: a Merkle library's, and the log of another maker."""

from __future__ import annotations

import base64
import json
import pathlib
import tarfile
from typing import Any

from mesh.tlog import merkle, tiles
from mesh.tlog.notes import NoteError, VerifierKey, open_checkpoint

MERKLE, LOG = "merkle_vectors.tar.gz", "tessera_log.tar.gz"
LOG_KEY = "example.com/log/testdata+33d7b496+AeHTu4Q3hEIMHNqc6fASMsq3rKNx280NI+oO5xCFkkSx"
"""The public key that the log's maker names in its own script."""


def files_of(archive: pathlib.Path) -> dict[str, bytes]:
    """Every file of an archive by name."""
    with tarfile.open(archive) as opened:
        found = {}
        for member in opened.getmembers():
            content = opened.extractfile(member)
            if content is not None:
                found[member.name.removeprefix("./")] = content.read()
        return found


def _bytes(text: str | None) -> bytes:
    return base64.b64decode(text or "")


def _holds(name: str, vector: dict[str, Any]) -> bool:
    proof = [_bytes(one) for one in vector["proof"] or []]
    if "inclusion/" in name:
        leaf, root = _bytes(vector["leafHash"]), _bytes(vector["root"])
        return merkle.is_included(vector["leafIdx"], vector["treeSize"], leaf, proof, root)
    roots = _bytes(vector["root1"]), _bytes(vector["root2"])
    return merkle.is_consistent(vector["size1"], vector["size2"], proof, *roots)


def merkle_vectors(archive: pathlib.Path) -> tuple[int, list[str]]:
    """How many inclusion and consistency vectors there are, and which are judged otherwise than they say."""
    vectors = {name: json.loads(text) for name, text in files_of(archive).items() if name.endswith(".json")}
    return len(vectors), [name for name, one in vectors.items() if _holds(name, one) == bool(one.get("wantErr"))]


def _checkpoint_holds(files: dict[str, bytes], folder: str, name: str, key: VerifierKey) -> str:
    """What is wrong with one checkpoint of the log; empty = nothing: signature, tiles, entries and their root agree."""
    try:
        checkpoint = open_checkpoint(files[name].decode(), key)
    except NoteError as error:
        return str(error)
    leaf_hashes: list[bytes] = []
    for tile in tiles.tiles_of(checkpoint.size):
        stored = files.get(folder + tile.path)
        if stored is None or len(stored) != tile.width * merkle.HASH_BYTES:
            return f"{tile.path} is missing or too short"
        if tile.level == 0:
            entries = tiles.unpack_entries(files[folder + tile._replace(level=tiles.ENTRIES).path])
            hashes = [merkle.hash_leaf(entry) for entry in entries]
            if b"".join(hashes) != stored:
                return f"{tile.path} is not what its entries hash to"
            leaf_hashes += hashes
    if merkle.root_of(leaf_hashes) != checkpoint.root:
        return "the entries do not hash to its root"
    return ""


def checkpoints(archive: pathlib.Path) -> tuple[int, list[str]]:
    """How many numbered checkpoints the log has, and what is wrong with which."""
    files, key = files_of(archive), VerifierKey.parse(LOG_KEY)
    names = sorted(name for name in files if name.rpartition("/")[2].startswith("checkpoint."))
    found = {name: _checkpoint_holds(files, name.rpartition("/")[0] + "/", name, key) for name in names}
    return len(names), [f"{name}: {wrong}" for name, wrong in found.items() if wrong]
