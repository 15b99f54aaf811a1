"""Events come out whole wherever the network cut the stream."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.provider.errors import ProviderFault
from services.provider.sse import Splitter, data_of

texts = st.text(st.characters(exclude_characters="\r\n", exclude_categories=["Cs"]), max_size=30)


@given(st.lists(st.tuples(texts, st.sampled_from(["\n", "\r\n"])), max_size=8), st.data())
def test_any_chunking_gives_the_same_events(parts: list[tuple[str, str]], data: st.DataObject) -> None:
    wanted = [f"event: e{end}data: {text}{end}{end}".encode() for text, end in parts]
    stream = b"".join(wanted)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=12)))
    splitter, got = Splitter(), []
    for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True):
        got += splitter.feed(stream[start:end])
    assert got == wanted and splitter.rest() == b""


@given(st.binary(max_size=200), st.lists(st.integers(0, 200), max_size=8))
def test_nothing_is_lost_of_any_bytes(stream: bytes, cuts: list[int]) -> None:
    splitter, got = Splitter(), []
    places = sorted(min(cut, len(stream)) for cut in cuts)
    for start, end in zip([0, *places], [*places, len(stream)], strict=True):
        got += splitter.feed(stream[start:end])
    assert b"".join(got) + splitter.rest() == stream
    assert all(event.endswith((b"\n\n", b"\r\n\r\n")) for event in got)


def test_an_event_has_a_largest_size() -> None:
    splitter = Splitter("p", max_event_bytes=100)
    splitter.feed(b"x" * 90)
    with pytest.raises(ProviderFault, match="larger than 100"):
        splitter.feed(b"x" * 20)


@pytest.mark.parametrize(
    ("event", "data"),
    [
        (b"data: [DONE]\n\n", b"[DONE]"),
        (b"data:{}\r\n\r\n", b"{}"),
        (b": ping\n\n", b""),
        (b"event: x\ndata: a\ndata: b\n\n", b"a\nb"),
        (b"data: a\ndata: b\n\n", b"a\nb"),
        (b"\n\n", b""),
    ],
)
def test_the_data_of_an_event(event: bytes, data: bytes) -> None:
    assert data_of(event) == data
