"""A copy is read whole and unchanged, or not at all."""

import os
import pathlib

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.router.sources import VERSION, Elo, SourceRecord, last_good
from services.router.sources.adapters import NAMES, SHIPPED_ONLY
from services.router.sources.kept import SHIPPED
from services.router.sources.last_good import Copy, Unreadable

COPY = Copy(
    "openrouter",
    5.0,
    [
        SourceRecord("openrouter", "acme/large", nano_usd_per_mtok={}, elo={"overall": Elo(1, 0, 2)}, seen_at_s=5.0),
        SourceRecord("openrouter", "acme/small", capabilities=("tools",), available=False),
    ],
    3,
    '"etag"',
)


def test_what_is_written_is_read(tmp_path: pathlib.Path) -> None:
    last_good.write(tmp_path / "deep" / "folder", COPY)
    path = last_good.path_of(tmp_path / "deep" / "folder", "openrouter")
    assert last_good.read(path) == COPY
    assert last_good.heading_of(path).rows == 2 and last_good.heading_of(path).fetched_at_s == 5.0
    assert [one.name for one in path.parent.iterdir()] == [path.name]
    last_good.write(path.parent, msgspec.structs.replace(COPY, fetched_at_s=6.0))
    assert last_good.read(path).fetched_at_s == 6.0


def test_a_copy_that_cannot_be_written_leaves_the_old_one(tmp_path: pathlib.Path) -> None:
    last_good.write(tmp_path, COPY)
    path = last_good.path_of(tmp_path, "openrouter")
    # A folder stands where the new file would be made.
    (tmp_path / f".{path.name}.{os.getpid()}").mkdir()
    with pytest.raises(OSError):
        last_good.write(tmp_path, msgspec.structs.replace(COPY, fetched_at_s=6.0))
    assert last_good.read(path) == COPY


def test_nothing_there_and_no_file(tmp_path: pathlib.Path) -> None:
    with pytest.raises(FileNotFoundError):
        last_good.read(tmp_path / "none")
    with pytest.raises(FileNotFoundError):
        last_good.heading_of(tmp_path / "none")
    with pytest.raises(Unreadable, match="cannot be read"):
        last_good.read(tmp_path)
    with pytest.raises(Unreadable, match="cannot be read"):
        last_good.heading_of(tmp_path)


def test_another_version_is_not_read(tmp_path: pathlib.Path) -> None:
    last_good.write(tmp_path, COPY)
    path = last_good.path_of(tmp_path, "openrouter")
    body = path.read_bytes()
    other = body.replace(f'"version":{VERSION}'.encode(), f'"version":{VERSION + 1}'.encode(), 1)
    assert other != body
    path.write_bytes(other)
    for read in (last_good.read, last_good.heading_of):
        with pytest.raises(Unreadable, match="form"):
            read(path)


@given(draw=st.data())
def test_a_changed_file_is_never_taken_for_a_copy(
    tmp_path_factory: pytest.TempPathFactory, draw: st.DataObject
) -> None:
    folder = tmp_path_factory.mktemp("copies")
    last_good.write(folder, COPY)
    path = last_good.path_of(folder, "openrouter")
    body = bytearray(path.read_bytes())
    end = body.index(b"\n")
    at = draw.draw(st.integers(end + 1, len(body) - 1))
    if draw.draw(st.booleans()):
        del body[at:]
    else:
        body[at] ^= draw.draw(st.integers(1, 255))
    path.write_bytes(bytes(body))
    with pytest.raises(Unreadable):
        last_good.read(path)


@pytest.mark.parametrize("body", [b"", b"\n", b"{}\n", b"DAC source {}\n", b"DAC source nonsense\n", b"x" * 9000])
def test_a_file_of_something_else_is_no_copy(tmp_path: pathlib.Path, body: bytes) -> None:
    path = last_good.path_of(tmp_path, "openrouter")
    path.write_bytes(body)
    for read in (last_good.read, last_good.heading_of):
        with pytest.raises(Unreadable, match="no copy"):
            read(path)


def test_the_shipped_snapshot_is_whole_small_and_only_what_may_be_shipped() -> None:
    files = sorted(SHIPPED.glob(f"*{last_good.SUFFIX}"))
    names = [one.name.removesuffix(last_good.SUFFIX) for one in files]
    assert set(names) == {"models_dev", "ollama", "litellm", *SHIPPED_ONLY} and set(names) <= set(NAMES)
    assert sum(one.stat().st_size for one in files) < 1_000_000
    told = (SHIPPED / "README.md").read_text()
    for name, file in zip(names, files, strict=True):
        copy = last_good.read(file)
        assert copy.source == name and copy.fetched_at_s > 1_700_000_000 and copy.records
        assert all(not one.elo and one.source == name for one in copy.records)
        assert not any("arena" in key for one in copy.records for key in one.benchmarks)
        assert f"`{file.name}`" in told and f"{len(copy.records):,}" in told
