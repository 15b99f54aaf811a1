"""Generated files: written where stale or missing, removed where nothing makes them any more, or only named."""

import pathlib
from collections.abc import Iterable, Mapping


def bring_up_to_date(
    root: pathlib.Path, wanted: Mapping[str, str], there: Iterable[pathlib.Path], *, check: bool, again: str
) -> int:
    """`wanted` is path below `root` → text, `there` the generated files found now. Returns the exit code.

    With `check` nothing is written: stale and surplus files are printed with the command (`again`) that mends them.
    """
    surplus = sorted({str(path.relative_to(root)) for path in there} - set(wanted))
    stale = [name for name, text in wanted.items() if not (root / name).exists() or (root / name).read_text() != text]
    if check:
        for name in [*stale, *surplus]:
            print(f"not fresh: {root / name} (run: {again})")
        return 1 if stale or surplus else 0
    for name in surplus:
        (root / name).unlink()
    for name in stale:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(wanted[name])
    print(f"{len(stale)} files written, {len(surplus)} removed below {root}")
    return 0
