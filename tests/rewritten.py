"""Compiles the tests as pytest does, assertions rewritten, before its processes start: each of them would do it for
itself, since they read a fresh clone's files at the same time. pytest has no name of its own for this: where another
version's is not as expected, its processes do it.
"""

import multiprocessing
import os
import pathlib
import sys

import pytest
from _pytest.assertion import rewrite

FOLDER = pathlib.Path(__file__).resolve().parent


class Quiet:
    """What rewriting asks of pytest's configuration and state."""

    def getini(self, name: str) -> bool:
        """No plug-in looks at assertions that hold."""
        return False

    def trace(self, text: str) -> None:
        """Nobody reads it."""


def write(source: pathlib.Path) -> bool:
    """Writes what pytest reads in the place of a file; False = it is there already."""
    folder = rewrite.get_cache_dir(source)
    target = folder / (source.stem + rewrite.PYC_TAIL)
    if rewrite._read_pyc(source, target) is not None:
        return False
    folder.mkdir(exist_ok=True)
    mark, code = rewrite._rewrite_test(source, Quiet())
    return rewrite._write_pyc(Quiet(), code, mark, target)


def sources(folder: pathlib.Path) -> list[pathlib.Path]:
    """The files whose assertions pytest rewrites."""
    return sorted(path for path in folder.rglob("*.py") if path.name == "conftest.py" or path.name[:5] == "test_")


if __name__ == "__main__":
    try:
        with multiprocessing.Pool(os.cpu_count()) as pool:
            pool.map(write, sources(pathlib.Path(sys.argv[1]) if sys.argv[1:] else FOLDER), chunksize=8)
    except (AttributeError, TypeError, ValueError) as error:
        print(f"pytest {pytest.__version__} compiles the tests itself: {error}", file=sys.stderr)
