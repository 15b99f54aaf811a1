"""`python -m mesh.boards FOLDER [--check]`: writes Grafana's boards and Prometheus' rules, or says what is stale."""

import argparse
import pathlib
import sys

from mesh.boards.files import files
from mesh.freshness import bring_up_to_date


def main(arguments: list[str] | None = None) -> int:
    """The exit code: 1 when --check finds something."""
    parser = argparse.ArgumentParser(prog="python -m mesh.boards", description=__doc__)
    parser.add_argument("folder", type=pathlib.Path, help="the folder that holds grafana/ and prometheus/: deploy")
    parser.add_argument("--check", action="store_true", help="write nothing, say what is not up to date")
    given = parser.parse_args(arguments)
    folder: pathlib.Path = given.folder
    there = (folder / "grafana").glob("*.json")
    return bring_up_to_date(folder, files(), there, check=given.check, again=f"python -m mesh.boards {folder}")


if __name__ == "__main__":
    sys.exit(main())
