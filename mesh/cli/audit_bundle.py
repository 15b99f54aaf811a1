"""The folder that `dac audit export` writes: entries, one proof for each, the checkpoint, and what checks them."""

import base64
import json
import pathlib
import shutil
from collections.abc import Iterable, Iterator
from typing import Any

from mesh.cli.client import Failure
from mesh.tlog import standalone
from mesh.tlog.proofs import write_proof

VERIFIER = "verify_dac_audit.py"
ABOUT = """# An export of DAC's audit log

Organisation {org_id}, log of {size} entries.

- `entries.jsonl`: a line for each entry: its index in the log, the leaf's text, and in base64 the record that it
  commits to (a serialised dac.type.v1.RequestRecord or AdminRecord) and the salt of the commitment.
- `proofs/`: for each entry a c2sp.org/tlog-proof@v1.
- `heads.json`: where the log noted how many entries each organisation had by then: that leaf, your organisation's line
  of it, and the path between them. It shows that no entry up to there was left out. A log that is new has none.
- `start.json`: where old entries were dropped: the leaf that says so, and your organisation's line of it, with the
  number of its last entry before the log's first one. A log that has all its entries has none.
- `checkpoint`, `verifier-key`: the signed checkpoint that all proofs lead to, and the key it verifies with.
- `{verifier}`: checks all of it with Python and the package `cryptography`: `python {verifier} --key KEY`.
"""


def _lines(parts: Iterable[bytes]) -> Iterator[bytes]:
    rest = b""
    for part in parts:
        *whole, rest = (rest + part).split(b"\n")
        yield from whole
    if rest:
        raise Failure("the export was cut off")


def _write_proof(folder: pathlib.Path, entry: dict[str, Any], note: str) -> None:
    """Takes the path out of an entry, and writes it as the proof that it is."""
    path, index = [base64.b64decode(one) for one in entry.pop("path")], int(entry["index"])
    proof = standalone.proof_file(folder, index)
    proof.parent.mkdir(parents=True, exist_ok=True)
    proof.write_text(write_proof(index, path, note), encoding="utf-8")


def write_bundle(parts: Iterable[bytes], folder: pathlib.Path) -> int:
    """Writes the folder from the service's lines; how many entries. Raises Failure."""
    if folder.exists() and any(folder.iterdir()):
        raise Failure(f"{folder} is not empty: name another folder")
    lines = _lines(parts)
    first = json.loads(next(lines, b"{}"))
    if "checkpoint" not in first:
        raise Failure("the answer is not an export of the audit log")
    note = str(first["checkpoint"])
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "checkpoint").write_text(note, encoding="utf-8")
    (folder / "verifier-key").write_text(f"{first['verifier_key']}\n", encoding="utf-8")
    shutil.copyfile(str(standalone.__file__), folder / VERIFIER)
    about = ABOUT.format(org_id=first["org_id"], size=note.split("\n")[1], verifier=VERIFIER)
    (folder / "README.md").write_text(about, encoding="utf-8")
    for field, name in (("heads", standalone.HEADS), ("start", standalone.START)):
        if told := first.get(field):
            _write_proof(folder, told, note)
            (folder / name).write_text(json.dumps(told, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
    count = 0
    with (folder / "entries.jsonl").open("w", encoding="utf-8") as entries:
        for line in lines:
            entry = json.loads(line)
            _write_proof(folder, entry, note)
            entries.write(json.dumps(entry, ensure_ascii=False) + "\n")
            count += 1
    return count
