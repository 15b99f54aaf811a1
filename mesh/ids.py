"""UUIDv7 identifiers (RFC 9562 §5.7): sortable by time, unguessable in the rest."""

import os
import re
import struct
import time


class _Entropy:
    """Random numbers fetched from the system by the page: one system call for hundreds of ids."""

    NUMBERS = 500

    def __init__(self) -> None:
        self._numbers: list[int] = []
        os.register_at_fork(after_in_child=self._forget)

    def _forget(self) -> None:
        self._numbers = []

    def eight(self) -> int:
        """Eight bytes that were never given out before, as a number."""
        try:
            return self._numbers.pop()
        except IndexError:
            self._numbers = list(_PAGE.unpack(os.urandom(_PAGE.size)))
            return self._numbers.pop()


_PAGE = struct.Struct(f"<{_Entropy.NUMBERS}Q")
_entropy = _Entropy()
_CANONICAL = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")


class _Sequence:
    """Time and random parts of the last id: within a millisecond the lower one grows (RFC 9562 §6.2, method 2)."""

    def __init__(self) -> None:
        self.stamp_ms = self.upper = self.lower = 0
        self.beginning = ""


_last = _Sequence()
_LOWER = (1 << 62) - 1
_VARIANT = 0x2 << 62


def uuid7() -> str:
    """A new UUIDv7 as its canonical 36-character string, greater than every one made before it in this process."""
    stamp_ms, fresh, last = time.time_ns() // 1_000_000, _entropy.eight(), _last
    if stamp_ms > last.stamp_ms:
        last.stamp_ms, last.lower = stamp_ms, fresh & _LOWER
        # Half of the 12 bits' numbers, so that there is room to grow.
        _begin(last, _entropy.eight() & 0x7FF)
    else:
        last.lower += (fresh & 0xFFFFFFFF) + 1
        if last.lower > _LOWER:
            last.lower &= _LOWER
            _begin(last, last.upper + 1)
    rest = f"{_VARIANT | last.lower:x}"
    return f"{last.beginning}{rest[:4]}-{rest[4:]}"


def _begin(last: _Sequence, upper: int) -> None:
    """What ids have in common until the lower part is full or the millisecond is over."""
    stamp = f"{last.stamp_ms:012x}"
    last.upper, last.beginning = upper, f"{stamp[:8]}-{stamp[8:]}-7{upper:03x}-"


def is_uuid(text: str) -> bool:
    """Whether `text` is a UUID in canonical form: 36 characters, lower case."""
    return _CANONICAL.fullmatch(text) is not None
