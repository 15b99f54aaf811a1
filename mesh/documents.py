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
        """What changes when the files do: name, time, size and inode of each, the shipped ones included, as who runs a
        checkout may well write there."""
        found = []
        for file in (one for part in (self._shipped, self._own) if part is not None for one in _files(part)):
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


def _files(path: pathlib.Path) -> list[pathlib.Path]:
    return sorted(path.glob("*.y*ml")) if path.is_dir() else [path]
