"""Fixtures on real servers: one PostgreSQL per test process, one migrated database in it."""

import dataclasses
import faulthandler
import gc
import os
import pathlib
import secrets
import sys
import urllib.parse
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Generator, Iterator

import asyncpg
import hypothesis
import pytest

from mesh.embedded import EmbeddedPostgres
from mesh.ids import uuid7
from mesh.migrate import OWNER, bootstrap, migrate, role_of, with_login
from mesh.postgres import Database
from tests import guard, prepared, roots

# Where this is set, every process that a test starts would compile all of DAC anew: most of what its start costs.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False

# A time limit for one example says more about the machine than about the code. `make test` says the same of the same
# tree each time; `make test-long` (HYPOTHESIS_PROFILE=search) looks for examples that nobody has seen yet.
hypothesis.settings.register_profile("dac", deadline=None, derandomize=True, database=None, max_examples=50)
hypothesis.settings.register_profile("search", deadline=None, max_examples=500, print_blob=True)
hypothesis.settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "dac"))
REPOSITORY = pathlib.Path(__file__).resolve().parent.parent
LONG = {f"tests/unit/{name}.py" for name in ("test_guard", "test_site", "budget/test_simulation", "mesh/test_envoy")}
"""Files of ten seconds among the small ones that come last: the last to end would hold the others up."""


def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """One more than there are cores: the tests wait a fifth of their time for servers and for limits to run out."""
    return (os.cpu_count() or 1) + 1


def pytest_configure(config: pytest.Config) -> None:
    """Before the test processes start: what they share. A crash shows only the thread that crashed: reading those that
    run on can take for ever (CPython 140815), and one test process that never ends would hold the whole run."""
    faulthandler.enable(os.dup(2), all_threads=False)
    config.pluginmanager.register(guard)
    if not hasattr(config, "workerinput"):
        prepared.share()


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """What is collected and imported lives until the end: looking through it for garbage finds none, for seconds."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What takes long begins."""
    items.sort(key=lambda item: item.nodeid.partition("::")[0] not in LONG)


@dataclasses.dataclass(frozen=True)
class Migrated:
    """A database with the schemas of `services`, and who may log in to it."""

    superuser_dsn: str
    """An administrator in this database."""
    owner_dsn: str
    """dac_owner."""
    services: dict[str, pathlib.Path]
    """Migration folder by service."""
    passwords: dict[str, str]

    @property
    def name(self) -> str:
        """What the server calls it."""
        return urllib.parse.urlsplit(self.owner_dsn).path.lstrip("/")

    def dsn(self, service: str) -> str:
        """Where dac_<service> logs in."""
        return with_login(self.owner_dsn, role_of(service), self.passwords[service])


@pytest.fixture(scope="session", autouse=True)
def one_root(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """The tests' clients, and the programs that they start, read one root instead of hundreds."""
    with roots.one(tmp_path_factory.mktemp("roots") / "roots.pem"):
        yield


@pytest.fixture(scope="session")
def all_services() -> dict[str, pathlib.Path]:
    """Every service that has a package, by name, with its migrations folder."""
    folders = sorted((REPOSITORY / "services").iterdir())
    return {f.name: f / "migrations" for f in folders if f.is_dir() and f.name.isidentifier() and f.name[0] != "_"}


@pytest.fixture(scope="session")
def postgres_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedPostgres]:
    """A running server of this test process."""
    server = prepared.server_in(tmp_path_factory.mktemp("pg"))
    server.start()
    yield server
    server.stop()


@pytest.fixture(scope="session")
def make_database(postgres_server: EmbeddedPostgres) -> Callable[..., Awaitable[Migrated]]:
    """Factory: `await make_database(services)` → a fresh migrated database. Roles are shared by the whole server.

    `like`: one of these databases, which nobody is connected to now: the new one has all that is in it.
    """
    # One password per role for the life of the server, or a second database would lock the first one's users out.
    passwords: dict[str, str] = defaultdict(lambda: secrets.token_hex(16))
    owner_password = secrets.token_hex(16)

    templates: dict[tuple[tuple[str, pathlib.Path], ...], str] = {}

    async def template_of(services: dict[str, pathlib.Path]) -> str:
        """A database that nobody uses, with these schemas or only what an administrator sets up."""
        wanted = tuple(sorted(services.items()))
        if wanted not in templates:
            templates[wanted] = f"template_{len(templates)}"
            owner_dsn = await bootstrap(postgres_server.superuser_dsn, owner_password, templates[wanted])
            if services:
                await migrate(owner_dsn, services, {service: passwords[service] for service in services})
        return templates[wanted]

    async def make(
        services: dict[str, pathlib.Path], *, migrated: bool = True, like: Migrated | None = None
    ) -> Migrated:
        name = f"dac_{secrets.token_hex(4)}"
        again = migrated and all(folder.is_relative_to(REPOSITORY) for folder in services.values())
        template = like.name if like else await template_of(services if again else {})
        connection = await asyncpg.connect(postgres_server.superuser_dsn)
        await connection.execute(f"CREATE DATABASE {name} TEMPLATE {template} OWNER {OWNER} STRATEGY FILE_COPY")
        await connection.close()
        # Who may connect is not part of the copy: it is said again, with all that finds itself done.
        owner_dsn = await bootstrap(postgres_server.superuser_dsn, owner_password, name)
        chosen = {service: passwords[service] for service in services}
        if migrated:
            await migrate(owner_dsn, services, chosen)
        superuser_dsn = postgres_server.superuser_dsn.replace("@/postgres?", f"@/{name}?")
        return Migrated(superuser_dsn, owner_dsn, services, chosen)

    return make


@pytest.fixture(scope="session")
async def migrated(
    make_database: Callable[..., Awaitable[Migrated]], all_services: dict[str, pathlib.Path]
) -> Migrated:
    """The database with every service's schema, shared by the tests of this process: use a fresh `org_id` each."""
    return await make_database(all_services)


@pytest.fixture
async def database_for(migrated: Migrated) -> AsyncIterator[Callable[..., Awaitable[Database]]]:
    """Factory: `await database_for("budget")` → an opened Database as that service; closed after the test."""
    opened: list[Database] = []

    async def open_for(service: str, **options: int) -> Database:
        database = Database(migrated.dsn(service), service, **options)  # type: ignore[arg-type]
        await database.open()
        opened.append(database)
        return database

    yield open_for
    for database in opened:
        await database.close()


@pytest.fixture
def org_id() -> str:
    """A fresh organisation."""
    return uuid7()
