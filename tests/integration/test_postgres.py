"""Tenancy as PostgreSQL holds it, over every schema; and what Database promises: named errors, comebacks, LISTEN."""

import asyncio
import pathlib
from collections.abc import Awaitable, Callable

import asyncpg
import pytest

from mesh.embedded import EmbeddedPostgres
from mesh.errors import MeshError, Reason
from mesh.ids import uuid7
from mesh.migrate import bootstrap, migrate, with_login
from mesh.postgres import Database
from mesh.postgres_errors import Conflict
from tests import prepared
from tests.conftest import Migrated

Make = Callable[..., Awaitable[Migrated]]

ALLOWED = (
    "(org_id = ANY ((string_to_array("
    "NULLIF(current_setting('app.org_ids'::text, true), ''::text), ','::text))::uuid[]))"
)
ALLOWED_ONCE = (
    "(org_id = ANY (( SELECT (string_to_array("
    "NULLIF(current_setting('app.org_ids'::text, true), ''::text), ','::text))::uuid[] AS string_to_array)::uuid[]))"
)
"""The same, read once for each statement: of tables that are written to in large batches."""
TABLES = """SELECT c.oid, n.nspname || '.' || c.relname AS name, n.nspname AS schema,
        c.relrowsecurity AS enabled, c.relforcerowsecurity AS forced, pg_get_userbyid(c.relowner) AS owner,
        EXISTS (SELECT FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attname = 'org_id' AND NOT a.attisdropped)
            AS of_organisations
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE c.relkind IN ('r', 'p') AND n.nspname = ANY ($1)"""
POLICIES = """SELECT polname AS name, polcmd::text AS command, polroles AS roles, polpermissive AS permissive,
        pg_get_expr(polqual, polrelid) AS visible, pg_get_expr(polwithcheck, polrelid) AS writable
    FROM pg_policy WHERE polrelid = $1"""
KEYS = """SELECT i.indexrelid::regclass::text AS name, EXISTS (SELECT FROM pg_attribute a
        WHERE a.attrelid = i.indrelid AND a.attname = 'org_id' AND a.attnum = ANY (i.indkey::int2[])) AS has_org
    FROM pg_index i WHERE i.indrelid = $1 AND i.indisunique"""
ROLES = """SELECT rolname AS name, rolsuper OR rolbypassrls OR rolcreaterole OR rolcreatedb AS mighty,
        EXISTS (SELECT FROM pg_class c WHERE c.relowner = r.oid) AS owns,
        EXISTS (SELECT FROM pg_auth_members m WHERE m.member = r.oid) AS is_member
    FROM pg_roles r WHERE rolname = ANY ($1)"""
ELSEWHERE = """SELECT r.rolname || ' may ' || p.privilege || ' ' || c.oid::regclass AS what
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace, pg_roles r,
        unnest(ARRAY['SELECT', 'INSERT', 'UPDATE', 'DELETE', 'TRUNCATE', 'REFERENCES', 'TRIGGER']) AS p(privilege)
    WHERE c.relkind IN ('r', 'p', 'v', 'm') AND n.nspname = ANY ($1) AND r.rolname = ANY ($2)
        AND r.rolname <> 'dac_' || n.nspname AND has_table_privilege(r.oid, c.oid, p.privilege)
        AND NOT (c.oid = 'mesh.signing_keys'::regclass AND p.privilege IN ('SELECT', 'INSERT'))
        AND NOT (c.oid IN ('mesh.models'::regclass, 'mesh.model_changes'::regclass)
            AND (p.privilege = 'SELECT'
                OR r.rolname = 'dac_router' AND p.privilege IN ('INSERT', 'UPDATE', 'DELETE')))"""
SCHEMAS = """SELECT r.rolname || ' may use ' || n.nspname AS what FROM pg_namespace n, pg_roles r
    WHERE n.nspname = ANY ($1::text[] || 'public'::text) AND r.rolname = ANY ($2)
        AND (has_schema_privilege(r.oid, n.oid, 'CREATE')
        OR r.rolname <> 'dac_' || n.nspname AND n.nspname <> 'mesh' AND has_schema_privilege(r.oid, n.oid, 'USAGE'))"""
DEFINERS = """SELECT p.oid::regprocedure::text || ' is for everybody' AS what
    FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace
    WHERE n.nspname = ANY ($1) AND p.prosecdef AND EXISTS (
        SELECT FROM aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) a WHERE a.grantee = 0)"""
VIEWS = """SELECT c.oid::regclass || ' is a view without security_invoker' AS what
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = ANY ($1) AND (c.relkind = 'm'
        OR c.relkind = 'v' AND NOT coalesce(c.reloptions, '{}')
            && ARRAY['security_invoker=true', 'security_invoker=on'])"""


async def table_faults(connection: asyncpg.Connection, table: asyncpg.Record) -> list[str]:
    """What is wrong with one table that has org_id."""
    faults = [] if table["enabled"] else ["is without ENABLE ROW LEVEL SECURITY"]
    faults += [] if table["forced"] else ["is without FORCE ROW LEVEL SECURITY"]
    owner_id = await connection.fetchval("SELECT oid FROM pg_roles WHERE rolname = 'dac_owner'")
    # A policy for dac_owner alone opens the table to SECURITY DEFINER functions and to no service.
    policies = [p for p in await connection.fetch(POLICIES, table["oid"]) if list(p["roles"]) != [owner_id]]
    if not any(p["command"] == "*" and p["visible"] and p["writable"] for p in policies):
        faults.append("has no policy with USING and WITH CHECK")
    for policy in policies:
        if policy["permissive"] and any(
            policy[part] not in (None, ALLOWED, ALLOWED_ONCE) for part in ("visible", "writable")
        ):
            faults.append(f"has the policy {policy['name']}, which lets through other rows than app.org_ids")
    for key in await connection.fetch(KEYS, table["oid"]):
        if not key["has_org"]:
            faults.append(f"has the key {key['name']}, which tells of other organisations' rows: add org_id to it")
    return [f"{table['name']} {fault}" for fault in faults]


async def tenancy_faults(database: Migrated) -> list[str]:
    """Every way in which this database could show one organisation's rows to another."""
    schemas = [*database.services, "mesh"]
    roles = [f"dac_{service}" for service in database.services]
    connection = await asyncpg.connect(database.superuser_dsn)
    try:
        faults = []
        for table in await connection.fetch(TABLES, schemas):
            if table["owner"] != "dac_owner":
                faults.append(f"{table['name']} belongs to {table['owner']}")
            if table["of_organisations"]:
                faults += await table_faults(connection, table)
        for role in await connection.fetch(ROLES, roles):
            if role["mighty"] or role["owns"] or role["is_member"]:
                faults.append(f"{role['name']} is more than a runtime role")
        for query, values in ((ELSEWHERE, (schemas, roles)), (SCHEMAS, (schemas, roles))):
            faults += [row["what"] for row in await connection.fetch(query, *values)]
        for query in (DEFINERS, VIEWS):
            faults += [row["what"] for row in await connection.fetch(query, schemas)]
        return faults
    finally:
        await connection.close()


GOOD = """CREATE TABLE rows (org_id uuid NOT NULL, n integer NOT NULL, PRIMARY KEY (org_id, n));
ALTER TABLE rows ENABLE ROW LEVEL SECURITY; ALTER TABLE rows FORCE ROW LEVEL SECURITY;
CREATE POLICY rows_org ON rows
  USING (org_id = ANY (string_to_array(NULLIF(current_setting('app.org_ids', true), ''), ',')::uuid[]))
  WITH CHECK (org_id = ANY (string_to_array(NULLIF(current_setting('app.org_ids', true), ''), ',')::uuid[]));
CREATE POLICY rows_owner ON rows TO dac_owner USING (true) WITH CHECK (true);
CREATE FUNCTION organisations() RETURNS SETOF uuid LANGUAGE sql SECURITY DEFINER
  AS 'SELECT DISTINCT org_id FROM tenants.rows';
"""
BUGS = {
    "FORCE": "ALTER TABLE rows NO FORCE ROW LEVEL SECURITY",
    "ENABLE": "ALTER TABLE rows DISABLE ROW LEVEL SECURITY",
    "no policy with": "DROP POLICY rows_org ON rows",
    "no policy with USING": "ALTER POLICY rows_org ON rows TO dac_owner",
    "lets through other rows": "CREATE POLICY open ON rows FOR SELECT USING (true)",
    "lets through other": "ALTER POLICY rows_org ON rows WITH CHECK (true)",
    "the key": "CREATE UNIQUE INDEX oracle ON rows (n)",
    "for everybody": "GRANT EXECUTE ON FUNCTION organisations() TO PUBLIC",
    "without security_invoker": "CREATE VIEW seen AS SELECT * FROM rows",
    "dac_next may SELECT tenants.rows": "GRANT SELECT ON rows TO dac_next",
    "dac_next may use tenants": "GRANT USAGE ON SCHEMA tenants TO dac_next",
    "dac_tenants may use tenants": "GRANT CREATE ON SCHEMA tenants TO dac_tenants",
}


@pytest.fixture(scope="module")
async def tenants(make_database: Make, tmp_path_factory: pytest.TempPathFactory) -> Migrated:
    folder = tmp_path_factory.mktemp("tenants")
    (folder / "0001_rows.sql").write_text(GOOD)
    return await make_database({"tenants": folder, "next": folder / "none"})


async def test_every_schema_keeps_organisations_apart(migrated: Migrated) -> None:
    assert await tenancy_faults(migrated) == []


@pytest.mark.parametrize("words", BUGS)
async def test_a_planted_bug_is_found(make_database: Make, tmp_path: pathlib.Path, words: str) -> None:
    (tmp_path / "0001_rows.sql").write_text(GOOD + BUGS[words] + ";")
    faults = await tenancy_faults(await make_database({"next": tmp_path / "none", "tenants": tmp_path}))
    assert any(words in fault for fault in faults), faults


async def test_a_sound_table_has_no_faults(tenants: Migrated) -> None:
    assert await tenancy_faults(tenants) == []


@pytest.fixture
async def rows(tenants: Migrated) -> Database:
    return Database(tenants.dsn("tenants"), "tenants", pool_max=2)


async def test_a_transaction_sees_exactly_its_organisations(rows: Database) -> None:
    one, two, three = uuid7(), uuid7(), uuid7()
    async with rows.transaction(one, two) as session:
        await session.executemany("INSERT INTO rows VALUES ($1, 1)", [(one,), (two,)])
    for org_ids, seen in (((one,), 1), ((one, two), 2), ((three,), 0), ((), 0)):
        async with rows.transaction(*org_ids) as session:
            assert await session.fetchval("SELECT count(*) FROM rows") == seen
    await rows.close()


async def test_what_a_session_kept_is_not_seen_by_the_next(rows: Database) -> None:
    one = uuid7()
    async with rows.transaction(one) as session:
        await session.execute("INSERT INTO rows VALUES ($1, 1)", one)
        await session.execute("SELECT set_config('app.org_ids', $1, false)", one)
    async with rows.transaction() as session:
        assert await session.fetchval("SELECT count(*) FROM rows") == 0
    await rows.close()


async def test_a_row_of_another_organisation_is_refused(rows: Database) -> None:
    one, two = uuid7(), uuid7()
    with pytest.raises(MeshError) as refused:
        async with rows.transaction(one) as session:
            await session.execute("INSERT INTO rows VALUES ($1, 1)", two)
    assert refused.value.reason is Reason.INTERNAL
    async with rows.transaction(two) as session:
        assert await session.fetchval("SELECT count(*) FROM rows") == 0
    await rows.close()


@pytest.mark.parametrize(
    "org_id", ["", "x", "'; DROP TABLE rows; --", ",".join(["01890a5d-ac96-774b-bcce-b302099a8057"] * 2)]
)
async def test_only_uuids_are_organisations(rows: Database, org_id: str) -> None:
    with pytest.raises(MeshError, match="UUID"):
        async with rows.transaction(org_id):
            pytest.fail("began")
    await rows.close()


async def test_a_second_row_under_a_key_is_a_conflict_and_nothing_stays(rows: Database) -> None:
    one = uuid7()
    with pytest.raises(Conflict) as refused:
        async with rows.transaction(one) as session:
            for _ in range(2):
                await session.execute("INSERT INTO rows VALUES ($1, 7)", one)
    assert (refused.value.constraint, refused.value.reason) == ("rows_pkey", Reason.ALREADY_EXISTS)
    async with rows.transaction(one) as session:
        assert await session.fetchval("SELECT count(*) FROM rows") == 0
    await rows.close()


async def test_an_own_error_rolls_back_and_passes_unchanged(rows: Database) -> None:
    one = uuid7()
    with pytest.raises(ZeroDivisionError):
        async with rows.transaction(one) as session:
            await session.execute("INSERT INTO rows VALUES ($1, 7)", one)
            raise ZeroDivisionError
    async with rows.transaction(one) as session:
        assert await session.fetchval("SELECT count(*) FROM rows") == 0
    await rows.close()


async def test_a_cancelled_transaction_gives_its_connection_back(rows: Database) -> None:
    async def endless() -> None:
        async with rows.transaction() as session:
            await session.execute("SELECT pg_sleep(60)")

    for _ in range(4):
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(endless(), 0.05)
    async with asyncio.timeout(5), rows.transaction() as session:
        assert await session.fetchval("SELECT 1") == 1
    await rows.close()


@pytest.mark.parametrize("setting", ["SUPERUSER", "BYPASSRLS"])
async def test_a_login_above_row_level_security_is_refused(tenants: Migrated, setting: str) -> None:
    connection = await asyncpg.connect(tenants.superuser_dsn)
    await connection.execute(f"CREATE ROLE mighty_{setting} LOGIN {setting} PASSWORD 'pw' IN ROLE dac_tenants")
    await connection.close()
    dsn = with_login(tenants.owner_dsn, f"mighty_{setting}".lower(), "pw")
    for role in (None, "dac_tenants"):
        database = Database(dsn, "tenants", role=role)
        with pytest.raises(MeshError, match="without SUPERUSER and BYPASSRLS") as refused:
            await database.check()
        assert refused.value.reason is Reason.FAILED_PRECONDITION
        await database.close()


async def test_nobody_there_is_unavailable_and_opening_needs_nobody(tmp_path: pathlib.Path) -> None:
    database = Database(f"postgresql://a:b@/c?host={tmp_path}", "tenants")
    await database.open()
    with pytest.raises(MeshError) as refused:
        await database.check()
    assert refused.value.reason is Reason.UNAVAILABLE
    await database.close()


@pytest.fixture
async def own_server(tmp_path: pathlib.Path) -> EmbeddedPostgres:
    server = prepared.server_in(tmp_path / "pg")
    server.start()
    await migrate(await bootstrap(server.superuser_dsn, "owner"), {"tenants": tmp_path / "none"}, {"tenants": "pw"})
    return server


async def test_a_server_that_was_killed_is_found_again(own_server: EmbeddedPostgres) -> None:
    database = Database(own_server.dsn("dac_tenants", "pw"), "tenants", pool_max=3)
    heard: asyncio.Queue[str] = asyncio.Queue()
    gaps: asyncio.Queue[None] = asyncio.Queue()
    try:
        listener = await database.listen("news", heard.put_nowait, on_gap=lambda: gaps.put_nowait(None))
        await asyncio.wait_for(gaps.get(), 5)
        async with database.transaction() as first, database.transaction() as second:
            await first.execute("NOTIFY news, 'one'")
            await second.execute("SELECT 1")
        assert await asyncio.wait_for(heard.get(), 5) == "one"
        assert own_server.process is not None
        own_server.process.kill()
        own_server.process.wait()
        with pytest.raises(MeshError) as refused:
            await database.check()
        assert refused.value.reason is Reason.UNAVAILABLE
        own_server.stop()
        own_server.start()
        await database.check()
        await asyncio.wait_for(gaps.get(), 10)
        assert listener.connected.is_set()
        async with database.transaction() as session:
            await session.execute("NOTIFY news, 'two'")
        assert await asyncio.wait_for(heard.get(), 5) == "two"
    finally:
        await database.close()
        own_server.stop()


async def test_channels_that_are_added_while_it_connects_are_heard_too(rows: Database) -> None:
    heard: asyncio.Queue[str] = asyncio.Queue()
    channels = [f"news_{number}" for number in range(40)]
    for channel in channels:
        listener = await rows.listen(channel, heard.put_nowait)
        await asyncio.sleep(0.0005)
    await asyncio.wait_for(listener.connected.wait(), 5)
    async with rows.transaction() as session:
        for channel in channels:
            await session.execute("SELECT pg_notify($1, $1)", channel)
    assert sorted([await asyncio.wait_for(heard.get(), 5) for _ in channels]) == sorted(channels)


async def test_sessions_ended_by_an_administrator_are_replaced_at_once(tenants: Migrated, rows: Database) -> None:
    async with rows.transaction() as first, rows.transaction() as second:
        pids = [await first.fetchval("SELECT pg_backend_pid()"), await second.fetchval("SELECT pg_backend_pid()")]
    connection = await asyncpg.connect(tenants.superuser_dsn)
    for pid in pids:
        await connection.execute("SELECT pg_terminate_backend($1, 5000)", pid)
    await connection.close()
    for _ in range(3):
        await rows.check()
    await rows.close()
