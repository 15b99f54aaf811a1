"""The restore drill: a backup taken under load becomes a DAC that knows everything, or nothing at all happens."""

import asyncio
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time

import asyncpg
import httpx
import pytest

from mesh.backup.archive import Source, back_up
from mesh.backup.envelope import Lock, Reader
from mesh.backup.restoration import open_backup, restore_folder
from mesh.errors import MeshError
from mesh.keyring import Keyring
from mesh.migrate import LOCK_ID, MESH_MIGRATIONS
from tests import prepared, programs
from tests.edge.conftest import make_dac

PASSPHRASE = "a passphrase for the drill"
CANARY = "prompt-canary-77aa01"
STORED_KEY = "sk-stored-canary-20f3"


def run(dac, *arguments, code=0, **env):
    """A `dac` command beside this DAC; returns what it printed."""
    done = programs.run([*map(str, arguments)], {**dac.env, "DAC_BACKUP_PASSPHRASE": PASSPHRASE, **env})
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
            time.sleep(0.01)
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
        answer = copy.chat()
        assert answer.status_code == 200
        copy.record(answer)
        messages = copy.get("/api/threads/kept/messages").json()["messages"]
        assert CANARY in json.dumps(messages) and len(messages) == 2
        record = copy.get(f"/v1/requests/{request_id}").json()["request"]
        assert record["outcome"] == "OUTCOME_OK"
        verified = httpx.get(f"{copy.url}/v1/budgets:verify", headers=copy.operator_headers).json()
        assert not verified.get("differences"), verified
        assert copy.get("/v2/usage").json()["total"]["requests"] == verified["ledger_rows"]
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


def test_a_passphrase_that_no_backup_has_is_wrong(used, tmp_path, upstream_process):
    _, backup, *_ = used
    copy = make_dac(tmp_path, upstream_process)
    said = run(copy, "restore", backup, code=1, DAC_BACKUP_PASSPHRASE="short")
    assert "the passphrase is wrong" in said and "take 12" not in said and not copy.data_dir.exists()


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
    server = prepared.server_in(tmp_path / "pg")
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


def test_a_restore_into_your_database_writes_over_nothing_and_leaves_nothing(
    used, own_server, tmp_path, upstream_process
):
    dac, backup, *_ = used
    copy = make_dac(tmp_path, upstream_process)
    copy.env["DATABASE_URL"] = own_server.dsn("operator", "pw", "two")
    theirs = copy.data_dir / "config" / dac.config.name
    theirs.parent.mkdir(parents=True)
    theirs.write_text("mesh: {}")
    assert "it differs from the one in the backup" in run(copy, "restore", backup, code=1)
    assert theirs.read_text() == "mesh: {}"
    theirs.unlink()
    other = tmp_path / "other.key"
    other.write_text("5a" * 32)
    assert "names another key" in run(copy, "restore", backup, code=1, DAC_MASTER_KEY_FILE=str(other))
    database = own_server.superuser_dsn.replace("/postgres?", "/two?")
    sql(database, "CREATE SCHEMA audit")
    assert "could not be restored" in run(copy, "restore", backup, code=1)
    assert not [path for path in copy.data_dir.rglob("*") if path.is_file()]
    sql(database, "DROP SCHEMA audit")
    key = copy.data_dir / "secrets" / "master.key"
    shutil.copy(dac.data_dir / "secrets" / "master.key", key)
    assert "restored" in run(copy, "restore", backup, DAC_MASTER_KEY_FILE=str(tmp_path / "not-there.key"))
    assert theirs.read_bytes() == dac.config.read_bytes() and len(list(key.parent.iterdir())) > 3


@pytest.fixture
def source(own_server, tmp_path):
    """The least that looks like a DAC."""
    dsn = own_server.superuser_dsn.replace("/postgres?", "/one?")
    sql(
        dsn,
        "CREATE SCHEMA mesh",
        "CREATE TABLE mesh.migrations (schema text, version integer)",
        "INSERT INTO mesh.migrations VALUES ('mesh', 1)",
    )
    (tmp_path / "secrets").mkdir()
    (tmp_path / "secrets" / "master.key").write_text("5a" * 32)
    return Source(
        dsn=dsn,
        embedded=True,
        services=("budget",),
        secrets_dir=tmp_path / "secrets",
        master_key_file=tmp_path / "secrets" / "master.key",
        config=None,
        env=os.environ,
    )


def locked():
    return Lock(keyring=Keyring(b"k" * 32))


def test_a_database_of_a_newer_dac_is_not_backed_up_by_halves(source, tmp_path):
    sql(source.dsn, "INSERT INTO mesh.migrations VALUES ('quota', 1)")
    with pytest.raises(MeshError, match=r"does not know \(quota\)"):
        asyncio.run(back_up(tmp_path / "x", source, locked(), print))
    assert not list(tmp_path.glob("x*"))


def test_a_database_whose_rows_stand_elsewhere_is_not_backed_up_by_halves(source, tmp_path):
    # As TimescaleDB keeps a table: its rows are in chunks of another schema, which pg_dump of DAC's schemas leaves out.
    sql(
        source.dsn,
        "CREATE SCHEMA budget",
        "CREATE SCHEMA chunks",
        "CREATE TABLE budget.figures (id integer)",
        "CREATE TABLE chunks.one () INHERITS (budget.figures)",
    )
    with pytest.raises(MeshError, match=r"Rows of budget\.figures stand in tables outside"):
        asyncio.run(back_up(tmp_path / "x", source, locked(), print))
    assert not list(tmp_path.glob("x*"))


def test_no_statement_of_a_backup_becomes_a_program(source, tmp_path):
    """A dump may hold any function, and one that checks rows runs while they are put in."""
    touched = tmp_path / "touched"
    program = f"COPY (SELECT 1) TO PROGRAM 'touch {touched}'"
    sql(
        source.dsn,
        "CREATE SCHEMA budget",
        f"""CREATE FUNCTION budget.evil() RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN
            IF current_database() <> 'one' THEN RESET ROLE; EXECUTE $sql$ {program} $sql$; END IF;
            RETURN true; END $$""",
        "CREATE TABLE budget.rows (id integer)",
        "INSERT INTO budget.rows VALUES (1)",
        "ALTER TABLE budget.rows ADD CHECK (budget.evil())",
    )
    asyncio.run(back_up(tmp_path / "x", source, locked(), print))
    assert not touched.exists()
    reader, contents = open_backup(tmp_path / "x", locked(), {"mesh": MESH_MIGRATIONS, "budget": MESH_MIGRATIONS})
    with pytest.raises(MeshError, match="could not be restored"):
        asyncio.run(restore_folder(reader, contents, tmp_path / "data", {}, os.environ, print))
    assert not touched.exists() and not list(tmp_path.glob("data*"))


def test_a_missing_key_is_named_before_the_database_is_read(source, tmp_path):
    source.master_key_file.unlink()
    with pytest.raises(MeshError, match=r"master\.key: it belongs into the backup"):
        asyncio.run(back_up(tmp_path / "x", source, locked(), print))


def test_a_servers_limits_for_queries_do_not_end_a_backup(source, tmp_path):
    sql(source.dsn, "ALTER ROLE postgres SET idle_in_transaction_session_timeout = '20ms'")
    # Making a key of a passphrase takes longer, while the snapshot is held.
    summary = asyncio.run(back_up(tmp_path / "x", source, Lock(passphrase=PASSPHRASE), print))
    assert summary.tables == 1 and summary.rows == 1


def test_two_backups_to_one_name_do_not_mix(source, tmp_path):
    async def both():
        return await asyncio.gather(
            *(back_up(tmp_path / "x", source, locked(), print) for _ in range(2)), return_exceptions=True
        )

    ends = asyncio.run(both())
    assert len([end for end in ends if isinstance(end, MeshError) and "exists already" in end.message]) == 1
    reader = Reader(tmp_path / "x")
    reader.unlock(locked())
    assert reader.check() > 0 and len(list(tmp_path.glob("x*"))) == 1


def test_backups_and_migrations_wait_for_each_other(source, tmp_path):
    async def go():
        migrating = await asyncpg.connect(source.dsn)
        await migrating.execute("SELECT pg_advisory_lock($1)", LOCK_ID)
        said = asyncio.Event()
        backing = asyncio.create_task(back_up(tmp_path / "x", source, locked(), lambda line: said.set()))
        await asyncio.wait_for(said.wait(), 20)
        # Committed after it began to wait: the backup must hold it.
        await migrating.execute("INSERT INTO mesh.migrations VALUES ('budget', 3)")
        await migrating.close()
        return await backing

    assert asyncio.run(go()).schemas == {"mesh": 1, "budget": 3}


def test_what_cannot_be_written_is_named_and_pg_dump_ends(source, tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("mesh.backup.archive.Writer.write", full)
    with pytest.raises(MeshError, match="No space left on device"):
        asyncio.run(back_up(tmp_path / "x", source, locked(), print))
    assert not list(tmp_path.glob("x*"))
