"""Forms: whatever a strict writer writes is read, however it arrives; what readers could disagree on is refused."""

import asyncio
import email.parser
import email.policy
from typing import Any

import httpx
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from dac.provider.v1.provider_pb2 import FormPart
from mesh.errors import MeshError, Reason
from services.gateway.edge.exchange import Exchange
from services.gateway.edge.form import MAX_HEAD_BYTES, MAX_PARTS, only, read_form, text_of
from services.provider import form as provider_form

FORM = "multipart/form-data; boundary=b"
NAMES = st.from_regex(r"[A-Za-z_][\w.\[\]-]{0,20}", fullmatch=True).filter(str.isascii)
NASTY = st.sampled_from(
    [b"\r\n", b"--", b"--b", b"\r\n--", b'"; name="model"', b"Content-Disposition: form-data", b"\0"]
)
DATA = st.lists(st.one_of(st.binary(max_size=30), NASTY), max_size=6).map(b"".join)
FILENAMES = st.text(st.characters(min_codepoint=32, blacklist_categories=("Cc", "Cs", "Zl", "Zp", "Cn")), max_size=20)


def told(part: FormPart) -> tuple[str, str, bytes]:
    return part.name, part.filename, part.data


@given(st.lists(st.tuples(NAMES, DATA, FILENAMES), min_size=1, max_size=6))
@example([("A", b"", "\\")])
def test_what_the_provider_service_writes_is_read_as_it_was(parts: list[tuple[str, bytes, str]]) -> None:
    kind, body = provider_form.written(provider_form.FormPart(name, data, filename) for name, data, filename in parts)
    read = read_form(body, kind)
    assert [(one.name, one.data) for one in read] == [(name, data) for name, data, _ in parts]
    for one, (_, _, filename) in zip(read, parts, strict=True):
        shown = "".join(c for c in filename if c.isprintable()).replace('"', "%22").replace("\\", "%5C")
        # A file name of nothing but what cannot be shown is still a file's.
        assert one.filename == shown or not shown
    # Another reader sees the same parts.
    message = email.parser.BytesParser(policy=email.policy.HTTP).parsebytes(
        f"Content-Type: {kind}\r\n\r\n".encode() + body
    )
    names = [one.get_param("name", header="content-disposition") for one in message.iter_parts()]
    assert names == [name for name, _, _ in parts]


@given(st.dictionaries(NAMES, DATA, max_size=4), DATA, st.lists(st.integers(1, 200), max_size=20))
def test_any_chunking_gives_the_same_fields(fields: dict[str, bytes], data: bytes, cuts: list[int]) -> None:
    request = httpx.Request(
        "POST",
        "http://x/",
        files=[*((n, (None, d)) for n, d in fields.items()), ("file", ("a.mp3", data, "audio/mpeg"))],
    )
    body, chunks, at = request.read(), [], 0
    for cut in cuts:
        chunks.append(body[at : at + cut])
        at += cut
    chunks.append(body[at:])

    async def receive() -> Any:
        return {"type": "http.request", "body": chunks.pop(0), "more_body": bool(chunks)}

    async def arrived() -> bytes:
        scope = {"type": "http", "method": "POST", "path": "/v1/audio/transcriptions", "headers": []}

        async def send(message: Any) -> None:
            raise AssertionError

        exchange = Exchange(scope, receive, send, [])
        try:
            return await exchange.body(1 << 20)
        finally:
            exchange.stop_waiting()

    read = read_form(asyncio.run(arrived()), request.headers["content-type"])
    assert [told(one) for one in read] == [*((n, "", d) for n, d in fields.items()), ("file", "a.mp3", data)]


@given(
    st.binary(max_size=300),
    st.sampled_from([FORM, "multipart/form-data", "text/plain", "", 'multipart/form-data; boundary="b"']),
)
def test_anything_else_is_refused_and_never_more(body: bytes, kind: str) -> None:
    try:
        read_form(b"--b\r\n" + body + b"\r\n--b--\r\n", kind)
    except MeshError as error:
        assert error.reason is Reason.INVALID_REQUEST


def part(head: bytes = b'Content-Disposition: form-data; name="a"', data: bytes = b"1") -> bytes:
    return b"--b\r\n" + head + b"\r\n\r\n" + data + b"\r\n"


@pytest.mark.parametrize(
    "head",
    [
        b"",
        b"Content-Disposition: form-data",
        b'Content-Disposition: form-data; name=""',
        b'Content-Disposition: attachment; name="a"',
        b'Content-Disposition: form-data; name="a"; name="model"',
        b'Content-Disposition: form-data; name="a"; NAME="model"',
        b'Content-Disposition: form-data; name="a"; x="y"',
        b'Content-Disposition: form-data; name="a" model',
        b'Content-Disposition: form-data; name="mod%65l"',
        b'Content-Disposition: form-data; name=" model"',
        b'Content-Disposition: form-data; name="\xff"',
        b"Content-Disposition: form-data; name*=utf-8''model",
        b'Content-Disposition: form-data; name="a"\r\nContent-Disposition: form-data; name="model"',
        b'Content-Disposition: form-data;\r\n name="model"',
        b'Content-Disposition : form-data; name="a"',
        b'Content-Disposition: form-data; name="a"\nContent-Disposition: form-data; name="model"',
        b'Content-Disposition: form-data; name="a"\r\nContent-Transfer-Encoding: base64',
        b'Content-Disposition: form-data; name="a"\r\nX: ' + b"y" * MAX_HEAD_BYTES,
    ],
)
def test_heads_that_two_readers_could_read_differently_are_refused(head: bytes) -> None:
    assert read_form(part() + b"--b--", FORM)
    with pytest.raises(MeshError) as caught:
        read_form(part(head) + b"--b--", FORM)
    assert caught.value.reason is Reason.INVALID_REQUEST and "curl -F" in caught.value.message


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"--b--",
        part(),
        part() + b"--b",
        part() + b"--b--more",
        b"before\r\n" + part() + b"--b--",
        part() + b"--b--\r\n" + part() + b"--b--",
        part() + b"--bb\r\n" + b"--b--",
        part().replace(b"\r\n", b"\n") + b"--b--",
        part() * (MAX_PARTS + 1) + b"--b--",
    ],
)
def test_bodies_that_do_not_begin_and_end_as_they_must_are_refused(body: bytes) -> None:
    with pytest.raises(MeshError) as caught:
        read_form(body, FORM)
    assert caught.value.reason is Reason.INVALID_REQUEST


@pytest.mark.parametrize(
    "kind",
    ["", "application/json", "multipart/form-data", "multipart/form-data; boundary=", "multipart/mixed; boundary=b"],
)
def test_a_content_type_that_is_no_form_is_named(kind: str) -> None:
    with pytest.raises(MeshError) as caught:
        read_form(part() + b"--b--", kind)
    assert caught.value.metadata["field"] == "content-type"


def test_a_field_is_there_once_and_is_text() -> None:
    parts = read_form(
        part() + part(data=b"2") + part(b'Content-Disposition: form-data; name="c"', b"\xff") + b"--b--", FORM
    )
    assert only(parts, "missing") is None and text_of(parts, "missing") == ""
    for name in ("a", "c"):
        with pytest.raises(MeshError) as caught:
            text_of(parts, name)
        assert caught.value.metadata["field"] == name


def test_names_of_files_come_in_every_way_that_clients_write_them() -> None:
    for written, name in (
        (b'filename="a b.mp3"', "a b.mp3"),
        (b'filename="a\\"b.mp3"', 'a"b.mp3'),
        (b"filename=a.mp3", "a.mp3"),
        (b"filename=\"x\"; filename*=UTF-8''%C3%A4.mp3", "\u00e4.mp3"),
        (b'filename=""', "file"),
    ):
        (read,) = read_form(part(b'Content-Disposition: form-data; name="file"; ' + written) + b"--b--", FORM)
        assert read.filename == name
