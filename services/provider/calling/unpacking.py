"""Compressed answers, unpacked a bounded piece at a time: a little that becomes much never lies in memory whole."""

import zlib

PIECE_BYTES = 1 << 18
"""The most that is unpacked at a time."""
ENCODINGS = frozenset({b"gzip", b"deflate"})
"""What is asked for."""
UNREADABLE = frozenset({b"br", b"zstd"})
"""What some send unasked; anything else that stands in the header is no compression."""
_GZIP, _MAGIC = 16 + zlib.MAX_WBITS, b"\x1f\x8b"


class Unpackable(Exception):
    """The bytes are not compressed as their header says."""


class Unpacker:
    """Unpacks one body."""

    def __init__(self, encoding: bytes) -> None:
        """Raises Unpackable for one that nobody here can read."""
        if encoding not in ENCODINGS:
            raise Unpackable
        self._deflate = encoding == b"deflate"
        self._zlib = None if self._deflate else zlib.decompressobj(_GZIP)
        self._left = b""
        self.more = False
        """`take` has something to give without anything new."""

    def take(self, packed: bytes = b"") -> bytes:
        """At most PIECE_BYTES of what `packed`, behind what was left before, unpacks to. Raises Unpackable."""
        packed = self._left + packed if self._left else packed
        if not packed and not self.more:
            return b""
        self._left, self.more = b"", False
        if self._zlib is None:
            # RFC 1950 has a header, but some servers send what stands behind it alone.
            self._zlib = zlib.decompressobj(zlib.MAX_WBITS if packed[0] & 0xF == 8 else -zlib.MAX_WBITS)
        elif self._zlib.eof:
            # Several in a row are one; what is no second one behind the first is nothing.
            if self._deflate or not packed or not packed.startswith(_MAGIC[: len(packed)]):
                return b""
            self._zlib = zlib.decompressobj(_GZIP)
        try:
            made = self._zlib.decompress(packed, PIECE_BYTES)
        except zlib.error:
            raise Unpackable from None
        self._left = self._zlib.unconsumed_tail or self._zlib.unused_data
        # zlib itself may hold the end of a piece that was just full.
        self.more = bool(self._left) or len(made) >= PIECE_BYTES
        return made

    def end(self) -> None:
        """Nothing comes any more. Raises Unpackable for what has no end of its own."""
        if self._deflate and self._zlib is not None and not self._zlib.eof:
            raise Unpackable
