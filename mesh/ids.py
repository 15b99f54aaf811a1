"""UUIDv7 identifiers (RFC 9562 §5.7): sortable by time, unguessable in the rest."""

import os
import re
import time


class _Entropy:
    """Random bytes fetched from the system by the page: one system call for hundreds of ids."""

    PAGE = 4_000

    def __init__(self) -> None:
        self._page, self._at = b"", 0
        os.register_at_fork(after_in_child=self._forget)

    def _forget(self) -> None:
        self._page, self._at = b"", 0

    def ten(self) -> bytes:
        """Ten bytes that were never given out before."""
        if self._at >= len(self._page):
            self._page, self._at = os.urandom(self.PAGE), 0
        self._at += 10
        return self._page[self._at - 10 : self._at]


_entropy = _Entropy()
_CANONICAL = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")


class _Sequence:
    """Time and random part of the last id: within a millisecond the random part grows (RFC 9562 §6.2, method 2)."""

    def __init__(self) -> None:
        self.stamp_ms = self.random = 0


_last = _Sequence()
_LOW = (1 << 62) - 1


def uuid7() -> str:
    """A new UUIDv7 as its canonical 36-character string, greater than every one made before it in this process."""
    stamp_ms, fresh = time.time_ns() // 1_000_000, int.from_bytes(_entropy.ten())
    if stamp_ms > _last.stamp_ms:
        # 73 of the 74 bits, so that there is room to grow.
        _last.stamp_ms, _last.random = stamp_ms, fresh >> 7
    else:
        _last.random += (fresh & 0xFFFFFFFF) + 1
    random = _last.random
    number = _last.stamp_ms << 80 | 0x7 << 76 | random >> 62 << 64 | 0x2 << 62 | random & _LOW
    text = f"{number:032x}"
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


def is_uuid(text: str) -> bool:
    """Whether `text` is a UUID in canonical form: 36 characters, lower case."""
    return _CANONICAL.fullmatch(text) is not None
