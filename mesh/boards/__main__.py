"""`python -m mesh.boards FOLDER [--check]`: writes Grafana's boards and Prometheus' rules, or says what is stale."""

import argparse
import pathlib
import sys

from mesh.boards.files import stale, write


def main(arguments: list[str] | None = None) -> int:
    """The exit code: 1 when --check finds something."""
    parser = argparse.ArgumentParser(prog="python -m mesh.boards", description=__doc__)
    parser.add_argument("folder", type=pathlib.Path, help="the folder that holds grafana/ and prometheus/: deploy")
    parser.add_argument("--check", action="store_true", help="write nothing, say what is not up to date")
    given = parser.parse_args(arguments)
    if not given.check:
        for path in write(given.folder):
            print(f"wrote {given.folder / path}")
        return 0
    old = stale(given.folder)
    for path in old:
        print(f"{given.folder / path} is not what the code says: run `python -m mesh.boards {given.folder}`")
    return 1 if old else 0


if __name__ == "__main__":
    sys.exit(main())
