"""The restore drill: a backup taken under load becomes a DAC that knows everything, or nothing at all happens."""

import asyncio
import json
import shutil
import signal
import subprocess
import sys
import threading

import asyncpg
import httpx
import pytest

from mesh.embedded import EmbeddedPostgres
from tests.edge.conftest import make_dac

PASSPHRASE = "a passphrase for the drill"
CANARY = "prompt-canary-77aa01"
STORED_KEY = "sk-stored-canary-20f3"


def run(dac, *arguments, code=0, **env):
    """A `dac` command beside this DAC; returns what it printed."""
    done = subprocess.run(
        [sys.executable, "-m", "mesh", *map(str, arguments)],
        env={**dac.env, "DAC_BACKUP_PASSPHRASE": PASSPHRASE, **env},
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        timeout=60,
    )
    assert done.returncode == code, done.stderr
    return done.stdout if code == 0 else done.stderr


class Load:
    """Chats without pause while something else goes on."""

    def __init__(self, dac):
        self._dac, self._stop, self.failed, self.answered = dac, threading.Event(), [], 0
        self._thread = threading.Thread(target=self._run)

    def _run(self):
        while not self._stop.is_set():
            answer = self._dac.chat()
            self.answered += 1
            if answer.status_code != 200:
                self.failed.append(answer.text)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._stop.set()
        self._thread.join()


@pytest.fixture(scope="module")
def used(tmp_path_factory, upstream_process):
    """A DAC with keys, a budget, a thread, a stored provider key and records; and a backup of it, taken under load."""
    folder = tmp_path_factory.mktemp("used")
    dac = make_dac(folder, upstream_process)
    dac.start()
    answer = dac.chat(thread_id="kept", messages=[{"role": "user", "content": CANARY}])
    assert answer.status_code == 200
    dac.record(answer)
    stored = {"provider": "openai", "api_key": STORED_KEY, "skip_test": True}
    added = httpx.post(f"{dac.url}/v1/providers", json=stored, headers=dac.operator_headers, timeout=20)
    assert added.status_code == 200, added.text
    backup = folder / "drill.dacbackup"
    with Load(dac) as load:
        while load.answered < 5:
            pass
        summary = json.loads(run(dac, "backup", backup, "--config", dac.config, "--json"))
    assert not load.failed and summary["rows"] > 10 and summary["config_files"] == 1
    yield dac, backup, answer.headers["x-dac-request-id"]
    assert dac.stop() == 0, dac.log()


def test_a_restored_dac_knows_keys_threads_records_and_money(used, tmp_path, upstream_process):
    dac, backup, request_id = used
    copy = make_dac(tmp_path, upstream_process)
    del copy.env["DAC_BOOTSTRAP_API_KEY"]
    copy.key = dac.key
    assert "restored" in run(copy, "restore", backup)
    copy.config = copy.data_dir / "config" / dac.config.name
    copy.start()
    try:
        assert copy.chat().status_code == 200
        messages = copy.get("/api/threads/kept/messages").json()["messages"]
        assert CANARY in json.dumps(messages) and len(messages) == 2
        record = copy.get(f"/v1/requests/{request_id}").json()["request"]
        assert record["outcome"] == "OUTCOME_OK"
        verified = httpx.get(f"{copy.url}/v1/budgets:verify", headers=copy.operator_headers).json()
        assert not verified.get("differences"), verified
        providers = httpx.get(f"{copy.url}/v1/providers", headers=copy.operator_headers).json()["providers"]
        assert "openai" in [provider["provider"] for provider in providers]
        theirs = {path.name: path.read_bytes() for path in (dac.data_dir / "secrets").iterdir() if path.name[0] != "."}
        ours = {path.name: path.read_bytes() for path in (copy.data_dir / "secrets").iterdir() if path.name[0] != "."}
        assert ours == theirs
        assert all(path.stat().st_mode & 0o077 == 0 for path in (copy.data_dir / "secrets").iterdir())
    finally:
        assert copy.stop() == 0


def test_the_file_gives_nothing_away(used):
    dac, backup, *_ = used
    raw = backup.read_bytes()
    master = (dac.data_dir / "secrets" / "master.key").read_bytes().strip()
    for secret in (CANARY.encode(), dac.key.encode(), master, bytes.fromhex(master.decode()), STORED_KEY.encode()):
        assert secret not in raw
    assert backup.stat().st_mode & 0o077 == 0


def test_a_stopped_dac_is_backed_up_too(tmp_path, upstream_process):
    dac = make_dac(tmp_path, upstream_process)
    dac.start()
    assert dac.stop() == 0
    backup = tmp_path / "cold.dacbackup"
    assert json.loads(run(dac, "backup", backup, "--json"))["tables"] > 10
    assert "whole" in run(dac, "restore", backup, "--check")
    assert "it exists already" in run(dac, "backup", backup, code=1)


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ("cut", "it is cut"),
        ("altered", "damaged or was altered"),
        ("passphrase", "the passphrase is wrong"),
        ("nothing", "it is no backup"),
        ("missing", "cannot be read"),
        ("newer", "is at version 99 but this build knows"),
        ("format", "its format is 2"),
    ],
)
def test_a_wrong_backup_is_refused_before_anything_is_written(used, tmp_path, upstream_process, how, said):
    _, backup, *_ = used
    raw, bad = backup.read_bytes(), tmp_path / "bad.dacbackup"
    env = {"DAC_BACKUP_PASSPHRASE": "not the passphrase"} if how == "passphrase" else {}
    content = {
        "cut": raw[: len(raw) // 2],
        "altered": raw[:-5000] + bytes([raw[-5000] ^ 1]) + raw[-4999:],
        "nothing": b"",
        "newer": raw.replace(b'"budget": ', b'"budget": 99, "was": ', 1),
        "format": raw.replace(b'"format": 1', b'"format": 2', 1),
    }.get(how, raw)
    if how != "missing":
        bad.write_bytes(content)
    copy = make_dac(tmp_path, upstream_process)
    assert said in run(copy, "restore", bad, code=1, **env)
    assert not copy.data_dir.exists() and not list(tmp_path.glob("*.restoring-*"))


def test_a_folder_in_use_is_left_alone(used, tmp_path, upstream_process):
    dac, backup, *_ = used
    assert "it is not empty" in run(dac, "restore", backup, code=1)
    assert dac.chat().status_code == 200
    copy = make_dac(tmp_path, upstream_process)
    assert "There is no database" in run(copy, "backup", tmp_path / "x.dacbackup", code=1)
    assert "12 or more" in run(copy, "backup", tmp_path / "x.dacbackup", code=1, DAC_BACKUP_PASSPHRASE="short")
    assert not (tmp_path / "x.dacbackup").exists()


def test_a_killed_restore_leaves_no_data_folder(used, tmp_path, upstream_process):
    _, backup, *_ = used
    copy = make_dac(tmp_path, upstream_process)
    process = subprocess.Popen(
        [sys.executable, "-m", "mesh", "restore", str(backup)],
        env={**copy.env, "DAC_BACKUP_PASSPHRASE": PASSPHRASE},
        stderr=subprocess.PIPE,
    )
    for line in process.stderr:
        if b"restoring the database" in line:
            break
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stderr.close()
    assert not copy.data_dir.exists()
    for left in tmp_path.glob("data.restoring-*"):
        shutil.rmtree(left, ignore_errors=True)
    assert "restored" in run(copy, "restore", backup)


def sql(dsn, *statements):
    """Runs statements as an administrator."""

    async def go():
        connection = await asyncpg.connect(dsn)
        try:
            return [await connection.fetch(one) for one in statements]
        finally:
            await connection.close()

    return asyncio.run(go())


@pytest.fixture
def own_server(tmp_path):
    server = EmbeddedPostgres(tmp_path / "pg", durable=False)
    server.start()
    sql(
        server.superuser_dsn,
        "CREATE ROLE operator LOGIN CREATEROLE PASSWORD 'pw'",
        "CREATE ROLE backup LOGIN BYPASSRLS PASSWORD 'pw'",
        "GRANT pg_read_all_data TO backup",
        "CREATE DATABASE one OWNER operator",
        "CREATE DATABASE two OWNER operator",
    )
    yield server
    server.stop()


def test_a_database_of_yours_is_backed_up_and_restored_into_an_empty_one(own_server, tmp_path, upstream_process):
    server = own_server
    dac = make_dac(tmp_path, upstream_process)
    dac.env["DATABASE_URL"] = server.dsn("operator", "pw", "one")
    dac.start()
    answer = dac.chat()
    dac.record(answer)
    backup = tmp_path / "own.dacbackup"
    assert "DATABASE_BACKUP_URL" in run(dac, "backup", backup, code=1) and not backup.exists()
    run(dac, "backup", backup, DATABASE_BACKUP_URL=server.dsn("backup", "pw", "one"))
    assert "already holds DAC's tables" in run(dac, "restore", backup, code=1)
    assert dac.stop() == 0
    (tmp_path / "second").mkdir()
    copy = make_dac(tmp_path / "second", upstream_process)
    copy.key = dac.key
    copy.env |= {"DATABASE_URL": server.dsn("operator", "pw", "two"), "DAC_BOOTSTRAP_API_KEY": dac.key}
    run(copy, "restore", backup)
    copy.start()
    try:
        kept = copy.get(f"/v1/requests/{answer.headers['x-dac-request-id']}")
        assert kept.status_code == 200 and copy.chat().status_code == 200
    finally:
        assert copy.stop() == 0, copy.log()
    assert (copy.data_dir / "secrets" / "master.key").stat().st_mode & 0o077 == 0
