"""Amazon's binary event stream (application/vnd.amazon.eventstream): frames with headers, each under two checksums."""

import binascii
import struct
from typing import NamedTuple

from mesh.sse import EventTooLarge
from services.provider.adapters.framing import Framing

_PRELUDE_BYTES, _CHECK_BYTES = 12, 4
_SIZES = {0: 0, 1: 0, 2: 1, 3: 2, 4: 4, 5: 8, 8: 8, 9: 16}
"""The sizes of header values by their type; texts (7) and bytes (6) say their own."""


class Frame(NamedTuple):
    """One event."""

    headers: dict[str, str]
    """Those that are texts."""
    payload: bytes


class Frames:
    """Cuts a stream into whole frames. A length is believed only when its checksum is right."""

    def __init__(self, max_event_bytes: int) -> None:
        self._pending = bytearray()
        self._limit = max_event_bytes

    def feed(self, chunk: bytes) -> list[bytes]:
        """The frames that `chunk` completes. Raises EventTooLarge, or ValueError for a wrong checksum."""
        self._pending += chunk
        frames, start = [], 0
        while len(self._pending) - start >= _PRELUDE_BYTES:
            total, headers, check = struct.unpack_from(">III", self._pending, start)
            if binascii.crc32(memoryview(self._pending)[start : start + 8]) != check:
                raise ValueError("the checksum of a frame's lengths is wrong")
            if total > self._limit:
                raise EventTooLarge(self._limit)
            if total < _PRELUDE_BYTES + headers + _CHECK_BYTES:
                raise ValueError("a frame is shorter than its headers")
            if len(self._pending) - start < total:
                break
            frames.append(bytes(self._pending[start : start + total]))
            start += total
        del self._pending[:start]
        return frames


def read_frame(raw: bytes) -> Frame:
    """What is in a whole frame. Raises ValueError for a wrong checksum or wrong headers."""
    try:
        total, headers_size, _ = struct.unpack_from(">III", raw)
        (check,) = struct.unpack_from(">I", raw, total - _CHECK_BYTES)
        if total != len(raw) or binascii.crc32(memoryview(raw)[: total - _CHECK_BYTES]) != check:
            raise ValueError("a frame's checksum is wrong")
        headers, at, end = dict[str, str](), _PRELUDE_BYTES, _PRELUDE_BYTES + headers_size
        while at < end:
            name_size = raw[at]
            name = raw[at + 1 : at + 1 + name_size].decode()
            kind, at = raw[at + 1 + name_size], at + 2 + name_size
            if kind in (6, 7):
                (size,) = struct.unpack_from(">H", raw, at)
                at += 2
            else:
                size = _SIZES[kind]
            if at + size > end:
                raise ValueError("a header is longer than the headers")
            if kind == 7:
                headers[name] = raw[at : at + size].decode()
            at += size
    except (struct.error, IndexError, KeyError) as error:
        raise ValueError("a frame's headers cannot be read") from error
    return Frame(headers, raw[end : total - _CHECK_BYTES])


EVENTSTREAM = Framing("application/vnd.amazon.eventstream", Frames)
