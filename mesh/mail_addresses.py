"""E-mail addresses in text: for what is struck out of logs, and for what is kept from providers."""

from collections.abc import Iterator

from mesh.secret_shapes import Tries, shape

EMAIL = "email"
_DOMAIN = shape(rb"@((?:[A-Za-z0-9\x80-\xc9][A-Za-z0-9\x80-\xc9-]*\.)+[A-Za-z\x80-\xc9][A-Za-z0-9\x80-\xc9-]+)")
_LOCAL = bytes(
    [
        *b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789.!#$%&'*+/=?^_`{|}~-",
        *range(0x80, 0xC0),
        *range(0xC3, 0xCA),
    ]
)
"""What stands before the @: ASCII as RFC 5322 has it, and Latin letters in UTF-8."""
_LOCAL_BYTES_MAX, _DOMAIN_BYTES_MAX = 64, 253
_NO_DOMAINS = frozenset(
    b"png jpg jpeg gif svg webp ico bmp css js mjs ts tsx jsx py rb go rs cpp hpp md txt json yaml yml toml lock html "
    b"htm pdf zip gz tgz csv so dll exe jar sum shape reshape mean dot numpy".split()
)
"""What stands behind the last dot of files and of expressions, and is no domain."""
_LOCAL_EDGE = b".!#$%&'*/=?^`{|}~"
"""What stands around an address rather than at its beginning."""
_ESCAPED = b"nrtbfvu"


def emails(data: bytes, tries: Tries) -> Iterator[tuple[str, int, int]]:
    """E-mail addresses, also with letters beyond ASCII."""
    if b"@" not in data:
        return
    for match in tries.of(_DOMAIN, data):
        at, end = match.start(), min(match.end(), match.start() + _DOMAIN_BYTES_MAX)
        before = data[max(0, at - _LOCAL_BYTES_MAX) : at]
        start = at - len(before) + len(before.rstrip(_LOCAL))
        if start < at and data[start - 1 : start] == b"\\" and data[start] in _ESCAPED:
            # The first letters belong to an escape such as \n, in a text that was pasted as it is written in a file.
            start += 5 if data[start] == _ESCAPED[-1] else 1
        while start < at and (data[start] in _LOCAL_EDGE or 0x80 <= data[start] <= 0xBF):
            start += 1
        while data[end - 1] in b"-.":
            end -= 1
        if start < at and _is_email(data, start, at, end):
            yield EMAIL, start, end


def _is_email(data: bytes, start: int, at: int, end: int) -> bool:
    local, domain = data[start:at], data[at + 1 : end]
    top = domain.rpartition(b".")[2].lower()
    if local.endswith(b".") or b".." in local or top in _NO_DOMAINS or data[end : end + 1] == b"(":
        return False
    if local == b"git" and data[end : end + 1] in (b":", b"/"):
        return False
    # The password of an address in front of its host is another kind.
    return data[max(0, start - 3) : start] != b"://" and not (
        start and data[start - 1] == 58 and b"://" in data[max(0, start - 72) : start]
    )
