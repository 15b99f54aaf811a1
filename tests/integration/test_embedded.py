"""The embedded PostgreSQL: set-up, crashes, and everything dying in the wrong order."""

import os
import pathlib
import signal
import stat
import subprocess
import sys
import time

import asyncpg
import psutil
import pytest

from mesh.embedded import EmbeddedPostgres
from mesh.errors import MeshError, Reason

HOLD = """
import pathlib, sys, time
from mesh.embedded import EmbeddedPostgres
server = EmbeddedPostgres(pathlib.Path(sys.argv[1]), durable=False)
server.start()
print(server.process.pid, flush=True)
time.sleep(600)
"""


def start(root: pathlib.Path) -> EmbeddedPostgres:
    server = EmbeddedPostgres(root, durable=False)
    server.start()
    return server


def hold_in_another_process(root: pathlib.Path) -> tuple[subprocess.Popen[str], int]:
    holder = subprocess.Popen([sys.executable, "-c", HOLD, str(root)], stdout=subprocess.PIPE, text=True)
    assert holder.stdout is not None
    return holder, int(holder.stdout.readline())


def cut_off_set_up(root: pathlib.Path, delay_s: float) -> None:
    """Kill a first start `delay_s` after its initdb began."""
    holder = subprocess.Popen([sys.executable, "-c", HOLD, str(root)], stdout=subprocess.DEVNULL)
    deadline = time.monotonic() + 10
    while not list(root.glob("data.tmp*")) and time.monotonic() < deadline:
        time.sleep(0.005)
    time.sleep(delay_s)
    holder.kill()
    holder.wait()


def wait_gone(pid: int, timeout_s: float = 10) -> None:
    try:
        psutil.Process(pid).wait(timeout_s)
    except psutil.NoSuchProcess:
        pass


async def write_row(server: EmbeddedPostgres) -> None:
    connection = await asyncpg.connect(server.superuser_dsn)
    await connection.execute("CREATE TABLE kept AS SELECT 42 AS n")
    await connection.close()


async def read_row(server: EmbeddedPostgres) -> int:
    connection = await asyncpg.connect(server.superuser_dsn)
    try:
        return int(await connection.fetchval("SELECT n FROM kept"))
    finally:
        await connection.close()


async def test_rows_survive_kill_9_of_the_server(tmp_path: pathlib.Path) -> None:
    server = start(tmp_path)
    try:
        await write_row(server)
        assert server.process is not None
        server.process.kill()
        server.process.wait()
        assert (server.data / "postmaster.pid").exists()
        server.stop()
        server.start()
        assert await read_row(server) == 42
    finally:
        server.stop()


async def test_the_server_dies_with_its_parent_and_the_next_start_takes_over(tmp_path: pathlib.Path) -> None:
    holder, postmaster = hold_in_another_process(tmp_path)
    holder.kill()
    holder.wait()
    # At once: the old postmaster is still going down now.
    server = start(tmp_path)
    try:
        wait_gone(postmaster)
        connection = await asyncpg.connect(server.superuser_dsn)
        await connection.close()
    finally:
        server.stop()


def test_a_second_dac_on_the_same_folder_is_refused(tmp_path: pathlib.Path) -> None:
    holder, postmaster = hold_in_another_process(tmp_path)
    try:
        with pytest.raises(MeshError) as refused:
            start(tmp_path)
        assert refused.value.reason is Reason.FAILED_PRECONDITION
        assert str(tmp_path) in refused.value.message
        assert str(holder.pid) in refused.value.message
        assert psutil.pid_exists(postmaster)
    finally:
        holder.kill()
        holder.wait()
        wait_gone(postmaster)


async def test_a_set_up_that_was_cut_off_is_done_again(tmp_path: pathlib.Path) -> None:
    (tmp_path / "data.tmp").mkdir()
    (tmp_path / "data.tmp" / "PG_VERSION").write_text("18")
    (tmp_path / "superuser.pw").write_text("left over")
    server = start(tmp_path)
    try:
        connection = await asyncpg.connect(server.superuser_dsn)
        await connection.close()
    finally:
        server.stop()


@pytest.mark.parametrize("delay_s", [0.02, 0.15, 0.3])
async def test_kill_9_during_the_first_set_up_is_healed(tmp_path: pathlib.Path, delay_s: float) -> None:
    cut_off_set_up(tmp_path, delay_s)
    server = start(tmp_path)
    try:
        await write_row(server)
        assert await read_row(server) == 42
    finally:
        server.stop()


def test_a_pid_file_that_names_a_strangers_process_is_forgotten(tmp_path: pathlib.Path) -> None:
    server = start(tmp_path)
    assert server.process is not None
    server.process.kill()
    server.process.wait()
    server.stop()
    pid_file = server.data / "postmaster.pid"
    lines = pid_file.read_text().splitlines()
    stranger = subprocess.Popen(["sleep", "60"])
    try:
        pid_file.write_text("\n".join([str(stranger.pid), *lines[1:]]) + "\n")
        server.start()
        server.stop()
        assert stranger.poll() is None
    finally:
        stranger.kill()
        stranger.wait()


async def test_a_long_folder_gets_a_short_private_socket(tmp_path: pathlib.Path) -> None:
    server = start(tmp_path / ("long" * 30))
    try:
        socket_dir = server.socket_dir
        assert len(os.fsencode(socket_dir / ".s.PGSQL.5432")) <= 100
        assert stat.S_IMODE(socket_dir.stat().st_mode) == 0o700
        connection = await asyncpg.connect(server.superuser_dsn)
        await connection.close()
    finally:
        server.stop()
    assert not socket_dir.exists()


async def test_it_asks_for_the_password_and_opens_no_port(tmp_path: pathlib.Path) -> None:
    server = start(tmp_path)
    try:
        assert server.process is not None
        assert psutil.Process(server.process.pid).net_connections(kind="inet") == []
        assert stat.S_IMODE((tmp_path / "superuser.pw").stat().st_mode) == 0o600
        with pytest.raises(asyncpg.InvalidPasswordError):
            await asyncpg.connect(server.dsn("postgres", "wrong", "postgres"))
    finally:
        server.stop()


def test_it_has_a_session_of_its_own_and_stops_clean(tmp_path: pathlib.Path) -> None:
    server = start(tmp_path)
    assert server.process is not None
    pid = server.process.pid
    assert os.getsid(pid) != os.getsid(0)
    server.stop()
    server.stop()
    assert not psutil.pid_exists(pid)
    assert not (server.data / "postmaster.pid").exists()
    assert signal.getsignal(signal.SIGINT) is not None


def test_another_thread_may_not_start_it(tmp_path: pathlib.Path) -> None:
    code = (
        "import pathlib, sys, threading\nfrom mesh.embedded import EmbeddedPostgres\nsaid = []\n"
        "def go():\n    try: EmbeddedPostgres(pathlib.Path(sys.argv[1]), durable=False).start()\n"
        "    except Exception as error: said.append(str(error))\n"
        "thread = threading.Thread(target=go); thread.start(); thread.join(); print(said)"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=True)
    assert "main thread" in done.stdout
