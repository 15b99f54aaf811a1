"""The migration runner: what it applies, what it refuses, whom it lets do what."""

import asyncio
import pathlib
import re
from collections.abc import Awaitable, Callable

import asyncpg
import pytest

from mesh.errors import MeshError, Reason
from mesh.ids import uuid7
from mesh.migrate import migrate, with_login
from mesh.postgres import Database
from tests.conftest import Migrated

Make = Callable[..., Awaitable[Migrated]]


@pytest.fixture
def folder(tmp_path: pathlib.Path) -> pathlib.Path:
    path = tmp_path / "alpha"
    path.mkdir()
    (path / "0001_things.sql").write_text("CREATE TABLE things (n integer PRIMARY KEY); INSERT INTO things VALUES (1);")
    (path / "0002_more.sql").write_text("ALTER TABLE things ADD COLUMN word text;")
    return path


async def as_service(database: Migrated, service: str, statement: str) -> object:
    connection = await asyncpg.connect(database.dsn(service))
    try:
        return await connection.fetchval(statement)
    finally:
        await connection.close()


async def test_it_applies_in_order_once(make_database: Make, folder: pathlib.Path) -> None:
    database = await make_database({"alpha": folder}, migrated=False)
    assert await migrate(database.owner_dsn, database.services, database.passwords) == [
        ("mesh", 1),
        ("mesh", 2),
        ("alpha", 1),
        ("alpha", 2),
    ]
    assert await migrate(database.owner_dsn, database.services, database.passwords) == []
    (folder / "0003_last.sql").write_text("CREATE TABLE last (n integer);")
    assert await migrate(database.owner_dsn, database.services, database.passwords) == [("alpha", 3)]


async def test_two_at_once_apply_each_file_once(make_database: Make, folder: pathlib.Path) -> None:
    database = await make_database({"alpha": folder}, migrated=False)
    runs = [migrate(database.owner_dsn, database.services, database.passwords) for _ in range(3)]
    applied = sorted(step for run in await asyncio.gather(*runs) for step in run)
    assert applied == [("alpha", 1), ("alpha", 2), ("mesh", 1), ("mesh", 2)]
    assert await as_service(database, "alpha", "SELECT count(*) FROM alpha.things") == 1


async def test_a_changed_file_is_refused(make_database: Make, folder: pathlib.Path) -> None:
    database = await make_database({"alpha": folder})
    (folder / "0001_things.sql").write_text("CREATE TABLE things (n bigint PRIMARY KEY);")
    with pytest.raises(MeshError, match=r"alpha/0001_things\.sql was changed") as refused:
        await migrate(database.owner_dsn, database.services, database.passwords)
    assert refused.value.reason is Reason.FAILED_PRECONDITION


async def test_a_gap_a_double_and_a_nameless_file_are_refused(make_database: Make, folder: pathlib.Path) -> None:
    database = await make_database({"alpha": folder}, migrated=False)
    for name, words in (("0004_gap.sql", "0003 is due"), ("0002_twice.sql", "0003 is due"), ("x.sql", "NNNN_words")):
        (folder / name).write_text("SELECT 1;")
        with pytest.raises(MeshError, match=words):
            await migrate(database.owner_dsn, database.services, database.passwords)
        (folder / name).unlink()


async def test_an_older_build_is_refused(make_database: Make, folder: pathlib.Path) -> None:
    database = await make_database({"alpha": folder})
    (folder / "0002_more.sql").unlink()
    with pytest.raises(MeshError, match="newer dac"):
        await migrate(database.owner_dsn, database.services, database.passwords)


async def test_a_failing_file_leaves_nothing_behind(make_database: Make, folder: pathlib.Path) -> None:
    database = await make_database({"alpha": folder})
    (folder / "0003_bad.sql").write_text("CREATE TABLE half (n integer); SELECT 1 / 0;")
    with pytest.raises(MeshError, match=r"alpha/0003_bad\.sql failed"):
        await migrate(database.owner_dsn, database.services, database.passwords)
    assert await as_service(database, "alpha", "SELECT to_regclass('alpha.half')::text") is None
    (folder / "0003_bad.sql").write_text("CREATE TABLE half (n integer);")
    assert await migrate(database.owner_dsn, database.services, database.passwords) == [("alpha", 3)]


async def test_what_a_migration_revokes_stays_revoked(make_database: Make, folder: pathlib.Path) -> None:
    (folder / "0003_append.sql").write_text(
        "CREATE TABLE entries (n integer); REVOKE UPDATE, DELETE ON entries FROM dac_alpha;"
    )
    database = await make_database({"alpha": folder})
    (folder / "0004_next.sql").write_text("CREATE TABLE after (n integer);")
    await migrate(database.owner_dsn, database.services, database.passwords)
    await as_service(database, "alpha", "INSERT INTO alpha.entries VALUES (1)")
    await as_service(database, "alpha", "DELETE FROM alpha.after")
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await as_service(database, "alpha", "DELETE FROM alpha.entries")


async def test_a_service_has_no_rights_next_door(make_database: Make, folder: pathlib.Path) -> None:
    database = await make_database({"alpha": folder, "beta": folder})
    assert await as_service(database, "beta", "SELECT n FROM beta.things") == 1
    for statement in (
        "SELECT n FROM alpha.things",
        "CREATE TABLE beta.mine (n integer)",
        "CREATE TABLE public.mine (n integer)",
        "SELECT version FROM mesh.migrations",
        "SET ROLE dac_alpha",
        "SET ROLE dac_owner",
    ):
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await as_service(database, "beta", statement)


async def test_functions_are_for_their_service_only(make_database: Make, folder: pathlib.Path) -> None:
    (folder / "0003_function.sql").write_text(
        "CREATE FUNCTION answer() RETURNS integer LANGUAGE sql SECURITY DEFINER AS 'SELECT 42';"
    )
    database = await make_database({"alpha": folder, "beta": folder})
    assert await as_service(database, "alpha", "SELECT alpha.answer()") == 42
    connection = await asyncpg.connect(database.owner_dsn)
    may = await connection.fetchval("SELECT has_function_privilege('dac_beta', 'alpha.answer()', 'EXECUTE')")
    await connection.close()
    assert may is False


async def test_a_service_publishes_only_its_own_signing_keys(make_database: Make, folder: pathlib.Path) -> None:
    database = await make_database({"alpha": folder, "beta": folder})
    insert = "INSERT INTO mesh.signing_keys (signing_key_id, issuer, public_key) VALUES ('{}', '{}', 'x')"
    await as_service(database, "alpha", insert.format("a1", "alpha"))
    assert await as_service(database, "beta", "SELECT issuer FROM mesh.signing_keys") == "alpha"
    with pytest.raises(asyncpg.InsufficientPrivilegeError, match="row-level security"):
        await as_service(database, "beta", insert.format("b1", "alpha"))
    for statement in ("DELETE FROM mesh.signing_keys", "UPDATE mesh.signing_keys SET public_key = 'y'"):
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await as_service(database, "alpha", statement)


async def test_an_operators_own_login_migrates_and_runs_by_switching_role(
    make_database: Make, folder: pathlib.Path
) -> None:
    database = await make_database({"alpha": folder}, migrated=False)
    connection = await asyncpg.connect(database.superuser_dsn)
    await connection.execute("DROP ROLE IF EXISTS operator; DROP ROLE IF EXISTS runner; DROP ROLE IF EXISTS dac_gamma")
    await connection.execute(
        "CREATE ROLE operator LOGIN CREATEROLE PASSWORD 'pw'; CREATE ROLE runner LOGIN PASSWORD 'pw'"
    )
    # As on a server where DAC was never bootstrapped: the operator owns the database and may hand out dac_owner.
    await connection.execute("GRANT dac_owner TO operator WITH ADMIN TRUE")
    name = await connection.fetchval("SELECT current_database()")
    await connection.execute(f"ALTER DATABASE {name} OWNER TO operator")
    await connection.close()
    operator = with_login(database.owner_dsn, "operator", "pw")
    services = {"gamma": folder}
    assert ("gamma", 2) in await migrate(operator, services, runtime_login="runner")
    assert await migrate(operator, services, runtime_login="runner") == []
    for dsn in (operator, with_login(database.owner_dsn, "runner", "pw")):
        pool = Database(dsn, "gamma", role="dac_gamma")
        async with pool.transaction() as session:
            assert await session.fetchval("SELECT current_user::text") == "dac_gamma"
            assert await session.fetchval("SELECT n FROM things") == 1
        await pool.close()
    with pytest.raises(asyncpg.PostgresError):
        await asyncpg.connect(with_login(database.owner_dsn, "dac_gamma", "pw"))


async def test_roles_of_another_login_are_named_with_the_mend(make_database: Make, folder: pathlib.Path) -> None:
    database = await make_database({"alpha": folder})
    name = f"second_{uuid7()[-12:]}"
    connection = await asyncpg.connect(database.superuser_dsn)
    try:
        await connection.execute(f"CREATE ROLE {name} LOGIN CREATEROLE PASSWORD 'pw'")
        await connection.execute(f"CREATE DATABASE {name} OWNER {name}")
    finally:
        await connection.close()
    dsn = re.sub(r"/dac_\w+", f"/{name}", with_login(database.owner_dsn, name, "pw"))
    with pytest.raises(MeshError, match=rf"GRANT dac_owner TO {name} WITH ADMIN OPTION"):
        await migrate(dsn, database.services, None)
