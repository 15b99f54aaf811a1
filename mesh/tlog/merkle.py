"""The Merkle tree of RFC 6962 section 2.1: hashes, a growing edge, proofs of inclusion and consistency, and checks.

A proof is first a list of ranges of leaves, then of complete subtrees (level, index), whose hashes come from anywhere:
a list of leaves in tests, tiles in the service.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence

HASH_BYTES = 32
EMPTY_ROOT = hashlib.sha256(b"").digest()
"""The root of a tree without leaves."""

Node = tuple[int, int]
"""(level, index): the complete subtree over leaves [index << level, (index + 1) << level)."""
Range = tuple[int, int]
"""Leaves from, up to but without."""
Hashes = Callable[[int, int], bytes]
"""The hash of the complete subtree (level, index)."""


def hash_leaf(data: bytes) -> bytes:
    """The hash of a leaf."""
    return hashlib.sha256(b"\x00" + data).digest()


def hash_children(left: bytes, right: bytes) -> bytes:
    """The hash of an inner node."""
    return hashlib.sha256(b"\x01" + left + right).digest()


def parents(row: Sequence[bytes]) -> list[bytes]:
    """The row above a row of an even number of hashes."""
    sha256 = hashlib.sha256
    pairs = iter(row)
    return [sha256(b"\x01" + left + right).digest() for left, right in zip(pairs, pairs, strict=True)]


def complete_root(row: Sequence[bytes]) -> bytes:
    """The root over a row whose length is a power of two."""
    while len(row) > 1:
        row = parents(row)
    return row[0]


def fold(subtrees: Sequence[bytes]) -> bytes:
    """The root over complete subtrees of falling size, from left to right."""
    root = subtrees[-1]
    for left in reversed(subtrees[:-1]):
        root = hash_children(left, root)
    return root


def peaks(row: Sequence[bytes]) -> list[bytes]:
    """The largest complete subtrees over a row of hashes of one level, from left to right."""
    found, start, left = [], 0, len(row)
    while left:
        width = 1 << (left.bit_length() - 1)
        found.append(complete_root(row[start : start + width]))
        start, left = start + width, left - width
    return found


def root_of(leaf_hashes: Sequence[bytes]) -> bytes:
    """The root over the hashes of leaves."""
    return fold(peaks(leaf_hashes)) if leaf_hashes else EMPTY_ROOT


def complete_nodes(begin: int, end: int) -> list[Node]:
    """The complete subtrees that a range consists of, from left to right; `begin` as it is in a proof: aligned."""
    found = []
    while begin < end:
        level = (end - begin).bit_length() - 1
        if begin:
            level = min(level, (begin & -begin).bit_length() - 1)
        found.append((level, begin >> level))
        begin += 1 << level
    return found


def _split(size: int) -> int:
    """The largest power of two below `size`."""
    return 1 << ((size - 1).bit_length() - 1)


def inclusion_ranges(index: int, size: int) -> list[Range]:
    """The ranges whose roots are the path of leaf `index` in a tree of `size`, from the leaf's sibling to the top."""
    if not 0 <= index < size:
        raise ValueError(f"leaf {index} is not in a tree of {size}")
    found: list[Range] = []
    begin, end = 0, size
    while end - begin > 1:
        middle = begin + _split(end - begin)
        if index < middle:
            found.append((middle, end))
            end = middle
        else:
            found.append((begin, middle))
            begin = middle
    return found[::-1]


def consistency_ranges(first: int, second: int) -> list[Range]:
    """The ranges whose roots prove that the tree of `second` leaves begins with that of `first`."""
    if not 0 < first <= second:
        raise ValueError(f"no proof leads from a tree of {first} to one of {second}")
    found: list[Range] = []
    begin, end, is_whole = 0, second, True
    while first < end:
        middle = begin + _split(end - begin)
        if first <= middle:
            found.append((middle, end))
            end = middle
        else:
            found.append((begin, middle))
            begin, is_whole = middle, False
    # The old root itself is known to whoever checks, unless it is only a part of the old tree.
    return ([] if is_whole else [(begin, end)]) + found[::-1]


def nodes_of(ranges: Iterable[Range]) -> list[Node]:
    """Every complete subtree that the ranges need."""
    return [node for begin, end in ranges for node in complete_nodes(begin, end)]


def prove(ranges: Iterable[Range], hashes: Hashes) -> list[bytes]:
    """The proof that ranges describe."""
    return [fold([hashes(*node) for node in complete_nodes(*one)]) for one in ranges]


def hashes_of(leaf_hashes: Sequence[bytes]) -> Hashes:
    """Where proofs over a list of leaf hashes take subtrees from."""
    return lambda level, index: complete_root(leaf_hashes[index << level : (index + 1) << level])


def root_from_inclusion(index: int, size: int, leaf_hash: bytes, proof: Sequence[bytes]) -> bytes | None:
    """The root that a path leads to (RFC 9162 section 2.1.3.2); None for a path that no such tree has."""
    if not 0 <= index < size or any(len(one) != HASH_BYTES for one in proof) or len(leaf_hash) != HASH_BYTES:
        return None
    node, last, root = index, size - 1, leaf_hash
    for sibling in proof:
        if last == 0:
            return None
        if node & 1 or node == last:
            root = hash_children(sibling, root)
            while not node & 1 and node:
                node, last = node >> 1, last >> 1
        else:
            root = hash_children(root, sibling)
        node, last = node >> 1, last >> 1
    return root if last == 0 else None


def is_included(index: int, size: int, leaf_hash: bytes, proof: Sequence[bytes], root: bytes) -> bool:
    """Whether the path proves that the tree of this size and root has the leaf at `index`."""
    return root_from_inclusion(index, size, leaf_hash, proof) == root


def is_consistent(first: int, second: int, proof: Sequence[bytes], old_root: bytes, root: bytes) -> bool:
    """Whether the proof shows that the second tree begins with the first (RFC 9162 section 2.1.4.2).

    An empty first tree proves nothing, and is refused.
    """
    if not 0 < first <= second:
        return False
    if first == second:
        return not proof and old_root == root
    if any(len(one) != HASH_BYTES for one in (*proof, old_root, root)):
        return False
    path = [old_root, *proof] if first & (first - 1) == 0 else list(proof)
    if not path:
        return False
    node, last = first - 1, second - 1
    while node & 1:
        node, last = node >> 1, last >> 1
    old = new = path[0]
    for sibling in path[1:]:
        if last == 0:
            return False
        if node & 1 or node == last:
            old, new = hash_children(sibling, old), hash_children(sibling, new)
            while not node & 1 and node:
                node, last = node >> 1, last >> 1
        else:
            new = hash_children(new, sibling)
        node, last = node >> 1, last >> 1
    return last == 0 and old == old_root and new == root
