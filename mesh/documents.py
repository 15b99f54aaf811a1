"""The configuration's files for a service that reads its sections again while it runs.

A folder's files may be added, removed or swapped by a symbolic link (as Kubernetes does with a ConfigMap).
"""

import pathlib
from collections.abc import Mapping
from typing import Any

from mesh.config import read_documents

Stamp = tuple[tuple[str, int, int, int], ...]


class Documents:
    """The shipped folder, and the operator's file or folder when there is one."""

    def __init__(self, shipped: pathlib.Path, own: pathlib.Path | None) -> None:
        """To be made before anything is read from the files: what changes afterwards is seen against `first_stamp`."""
        self._shipped, self._own = shipped, own
        self.first_stamp = self.stamp()

    def stamp(self) -> Stamp:
        """What changes when the operator's files do: name, time, size and inode of each."""
        if self._own is None:
            return ()
        files = sorted(self._own.glob("*.y*ml")) if self._own.is_dir() else [self._own]
        found = []
        for file in files:
            try:
                one = file.stat()
            except OSError:
                # Gone between the listing and now, or not readable: reading it will say so.
                found.append((str(file), 0, 0, 0))
            else:
                found.append((str(file), one.st_mtime_ns, one.st_size, one.st_ino))
        return tuple(found)

    def read(self, *sections: str) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
        """The sections as shipped, and as the operator has them; None for one that is not there. Raises ConfigError."""
        shipped = read_documents(self._shipped)
        own = read_documents(self._own) if self._own is not None else {}
        return {name: shipped.get(name) for name in sections}, {name: own.get(name) for name in sections}
