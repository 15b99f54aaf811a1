"""Tools that tests download once for a machine, in the user's cache folder."""

import fcntl
import os
import pathlib
from collections.abc import Callable

from tests import roots


def cached(folder_name: str, name: str, unpack: Callable[[pathlib.Path], None]) -> pathlib.Path:
    """The file `name` of the cache's folder; `unpack` makes it when it is not there."""
    cache = pathlib.Path(os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache")
    folder = cache / "dac-tests" / folder_name
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as lock:
        # Test processes start together, and one download is enough.
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / name).exists():
            with roots.of_the_machine():
                unpack(folder / name)
    return folder / name
