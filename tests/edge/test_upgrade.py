"""Old and new side by side: an older data folder is brought up after a backup, and the older program runs on the newer
schema, as it does while a cluster rolls."""

import io
import os
import pathlib
import signal
import subprocess
import sys
import tarfile
import time

import asyncpg
import httpx
import pytest

from mesh.app import TARGETS
from mesh.embedded import EmbeddedPostgres
from tests import prepared, programs
from tests.edge.conftest import make_dac

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]


def git(*arguments: str) -> bytes:
    done = subprocess.run(["git", "-C", str(REPOSITORY), *arguments], capture_output=True, check=False)
    assert done.returncode == 0, (
        f"git {' '.join(arguments)} failed ({done.stderr.decode().strip()}): this test runs the program as it was "
        "before a migration, so it needs the repository with its history (git fetch --unshallow)"
    )
    return done.stdout


def before(migration: pathlib.Path) -> str:
    """The last commit without `migration`."""
    # -m: it may have come, or got its number, with a merge. First parents: what a branch tried was never in use.
    name = str(migration.relative_to(REPOSITORY))
    added = git("log", "--first-parent", "-m", "--diff-filter=A", "--format=%H", "--", name).split()
    return f"{added[-1].decode()}^" if added else "HEAD"


def later_migrations() -> list[pathlib.Path]:
    """Of every schema the newest migration, unless it is the first."""
    newest = [sorted(target.migrations.glob("*.sql"))[-1:] for target in TARGETS.values()]
    return [found[0] for found in newest if found and not found[0].name.startswith("0001_")]


@pytest.fixture(scope="module")
def tree_of(tmp_path_factory):
    """commit → a folder with the program as it was."""
    made: dict[str, pathlib.Path] = {}

    def tree(commit: str) -> pathlib.Path:
        if commit not in made:
            folder = tmp_path_factory.mktemp("tree")
            with tarfile.open(fileobj=io.BytesIO(git("archive", commit))) as archive:
                # Without the filter of newer Pythons: the archive is the repository's own.
                archive.extractall(folder)
            made[commit] = folder
        return made[commit]

    return tree


def as_older(dac, tree: pathlib.Path):
    """The same settings for the older program, which must know all of them."""
    # This program's own folders are on the path of the environment that both share: it would find newer protos there.
    hidden = [str(REPOSITORY), str(REPOSITORY / "gen")]
    hide = f"import sys\nsys.path[:] = [one for one in sys.path if one not in {hidden!r}]\n"
    (tree / "sitecustomize.py").write_text(hide)
    # Safe path: the folder the tests run in would come before PYTHONPATH.
    dac.database = "empty"
    dac.env |= {"PYTHONPATH": f"{tree}{os.pathsep}{tree / 'gen'}", "PYTHONSAFEPATH": "1"}
    return dac


@pytest.fixture(params=later_migrations(), ids=lambda path: path.stem)
def older(request, tree_of):
    tree = tree_of(before(request.param))
    assert (tree / "mesh" / "__main__.py").exists()
    assert not (tree / request.param.relative_to(REPOSITORY)).exists(), "this is not the program of before"
    return tree


@pytest.fixture
def oldest(tree_of):
    """The program before all of these migrations."""
    commits = [before(migration) for migration in later_migrations()]
    return tree_of(min(commits, key=lambda commit: int(git("rev-list", "--count", "--first-parent", commit))))


def dac_command(dac, *arguments, **env):
    """A command of this program."""
    return programs.run([*map(str, arguments)], {**dac.env, **env})


def test_there_is_a_migration_to_look_at():
    assert later_migrations()


def test_an_older_data_folder_is_upgraded_after_a_backup(oldest, tmp_path, upstream_process):
    dac = as_older(make_dac(tmp_path, upstream_process, audio=False), oldest)
    dac.start()
    first = dac.chat()
    dac.record(first)
    assert dac.stop() == 0
    assert "of an older DAC" not in dac.log()
    del dac.env["PYTHONPATH"]
    dac.start()
    try:
        assert "of an older DAC" in dac.log()
        assert dac.get(f"/v1/requests/{first.headers['x-dac-request-id']}").status_code == 200
        assert dac.record(dac.chat())["outcome"] == "OUTCOME_OK"
    finally:
        assert dac.stop() == 0
    (made,) = (dac.data_dir / "backups").iterdir()
    (tmp_path / "back").mkdir()
    back = make_dac(tmp_path / "back", upstream_process, audio=False)
    back.key = back.env["DAC_BOOTSTRAP_API_KEY"] = dac.key
    done = dac_command(back, "restore", made, "--master-key", dac.data_dir / "secrets" / "master.key")
    assert done.returncode == 0, done.stderr
    as_older(back, oldest).start()
    try:
        assert back.get(f"/v1/requests/{first.headers['x-dac-request-id']}").status_code == 200
    finally:
        assert back.stop() == 0
    dac.start()
    assert dac.stop() == 0
    assert [path.name for path in (dac.data_dir / "backups").iterdir()] == [made.name]


@pytest.fixture
def own_server(tmp_path):
    server = prepared.server_in(tmp_path / "pg")
    server.start()
    yield server
    server.stop()


async def test_the_older_program_runs_on_the_newer_schema(older, own_server, tmp_path, upstream_process):
    connection = await asyncpg.connect(own_server.superuser_dsn)
    await connection.execute("CREATE ROLE operator LOGIN CREATEROLE PASSWORD 'pw'")
    await connection.execute("CREATE DATABASE own OWNER operator")
    await connection.close()
    dac = make_dac(tmp_path, upstream_process, audio=False)
    key_file = tmp_path / "master.key"
    key_file.write_text("5a" * 32)
    dac.env |= {"DATABASE_URL": own_server.dsn("operator", "pw", "own"), "DAC_MASTER_KEY_FILE": str(key_file)}
    migrated = dac_command(dac, "migrate")
    assert migrated.returncode == 0, migrated.stderr
    as_older(dac, older)
    log = (tmp_path / "dac.log").open("ab")
    command = [sys.executable, "-m", "mesh", "serve", "--target=all", "--config", str(dac.config)]
    process = subprocess.Popen(command, env=dac.env, stdout=log, stderr=log)  # noqa: ASYNC220
    try:
        await_ready(dac, process)
        for body in ({}, {"stream": True}, {"thread_id": "kept"}):
            answer = dac.chat(**body)
            assert answer.status_code == 200, answer.text
            assert dac.record(answer)["outcome"] == "OUTCOME_OK"
        assert dac.get("/v1/budgets:verify").status_code == 200
    finally:
        process.send_signal(signal.SIGTERM)
        assert process.wait(40) == 0, dac.log()


def await_ready(dac, process, tries: int = 600):
    """Returns when it is ready; says what it wrote when it ends instead."""
    for _ in range(tries):
        assert process.poll() is None, dac.log()
        try:
            if httpx.get(f"{dac.url}/ready", timeout=2).status_code == 200:
                return
        except httpx.HTTPError:
            pass
        time.sleep(0.05)
    raise AssertionError(dac.log())


async def test_a_newer_data_folder_is_refused_untouched(tmp_path, upstream_process):
    dac = make_dac(tmp_path, upstream_process, audio=False)
    dac.start()
    assert dac.stop() == 0
    server = EmbeddedPostgres(dac.data_dir / "postgres")
    server.start()
    connection = await asyncpg.connect(server.superuser_dsn.replace("/postgres?", "/dac?"))
    await connection.execute(
        "INSERT INTO mesh.migrations (schema, version, name, sha256) VALUES ('audit', 99, 'x', 'x')"
    )
    await connection.close()
    server.stop()
    done = dac_command(dac, "up", "--config", dac.config)
    assert done.returncode == 1
    assert "schema audit of the data folder" in done.stderr and "is at version 99" in done.stderr
    assert not (dac.data_dir / "backups").exists()


def test_a_folder_of_another_postgresql_is_refused(tmp_path, upstream_process):
    dac = make_dac(tmp_path, upstream_process, audio=False)
    dac.start()
    assert dac.stop() == 0
    (dac.data_dir / "postgres" / "data" / "PG_VERSION").write_text("17\n")
    done = dac_command(dac, "up", "--config", dac.config)
    assert done.returncode == 1 and "was made by PostgreSQL 17" in done.stderr and "dac restore" in done.stderr
