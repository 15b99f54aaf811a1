"""Keys on a real database: first start, revocation across replicas, organisations apart."""

import asyncio
import contextlib
import time

import pytest

from mesh.config import Secret
from mesh.errors import MeshError, Reason
from mesh.ids import uuid7
from mesh.keyring import Keyring
from mesh.principals import Signer
from services.gateway.callers import Callers
from services.gateway.identity import Identity
from services.gateway.identity_server import describe
from services.gateway.store import PostgresStore

KEYRING = Keyring(bytes(range(32)))
SIGNER = Signer("gateway", bytes(range(1, 33)))


class DeafStore(PostgresStore):
    """A replica whose LISTEN connection is gone."""

    async def listen(self, changed):
        """Hears nothing."""


@pytest.fixture
async def database(make_database, all_services):
    from mesh.postgres import Database

    made = await make_database({"gateway": all_services["gateway"]})
    opened = Database(made.dsn("gateway"), "gateway")
    yield opened
    await opened.close()


@pytest.fixture
async def identity(database, tmp_path):
    delivered = []

    async def append(records):
        delivered.extend(records)

    made = Identity(PostgresStore(database), KEYRING, describe=describe, append=append, secrets_dir=tmp_path)
    made.delivered = delivered
    return made


async def refused(callers, token):
    try:
        await callers.authenticate(token)
    except MeshError as error:
        return error.reason
    return None


@pytest.mark.parametrize("store_class", [PostgresStore, DeafStore])
async def test_a_revoked_key_is_refused_by_every_replica_within_a_second(database, identity, store_class):
    token = await identity.bootstrap(None)
    replicas = [Callers(store_class(database), SIGNER, KEYRING) for _ in range(2)]
    async with contextlib.AsyncExitStack() as stack:
        for one in replicas:
            await one.start()
            stack.push_async_callback(one.close)
        caller = await replicas[0].authenticate(token)
        assert await replicas[1].authenticate_header(f"Bearer {token}")
        await identity.revoke(caller.principal.org_id, caller.principal.key_id, "operator")
        end = time.monotonic() + 1.0
        for one in replicas:
            while await refused(one, token) is None and time.monotonic() < end:
                await asyncio.sleep(0.01)
            assert await refused(one, token) is Reason.INVALID_CREDENTIAL


async def test_without_a_confirmed_epoch_the_row_is_read(database, identity):
    token = await identity.bootstrap(None)
    # Never started: nobody follows the epoch, so a remembered key must not outlive its second.
    callers = Callers(DeafStore(database), SIGNER, KEYRING)
    caller = await callers.authenticate(token)
    await identity.revoke(caller.principal.org_id, caller.principal.key_id, "operator")
    callers._confirmed -= 2.0
    assert await refused(callers, token) is Reason.INVALID_CREDENTIAL


async def test_organisations_do_not_reach_each_others_keys(identity):
    await identity.bootstrap(None)
    other = await identity.create_organisation("other", "operator")
    key, _ = await identity.create_key(other.org_id, "k", [], [], None, held=["operator"], actor="operator")
    mine = identity.default_org_id
    assert key.key_id not in {one.key_id for one in (await identity.keys(mine, 0, ""))[0]}
    for key_id in (key.key_id, uuid7()):
        with pytest.raises(MeshError) as caught:
            await identity.revoke(mine, key_id, "key:x")
        assert caught.value.reason is Reason.NOT_FOUND


async def test_nobody_gives_a_scope_they_lack(identity):
    await identity.bootstrap(None)
    for held, wanted in ((["chat", "admin"], "operator"), (["chat"], "admin"), (["admin"], "chat")):
        with pytest.raises(MeshError) as caught:
            await identity.create_key(identity.default_org_id, "k", [wanted], [], None, held=held, actor="key:x")
        assert caught.value.reason is Reason.PERMISSION_DENIED


async def test_another_master_key_is_refused(database, identity, tmp_path):
    await identity.bootstrap(None)
    other = Identity(PostgresStore(database), Keyring(bytes(32)), describe=describe, append=None, secrets_dir=tmp_path)
    with pytest.raises(MeshError, match="another master key"):
        await other.bootstrap(None)


async def test_a_second_bootstrap_key_with_the_same_id_and_another_secret_is_added(database, identity):
    first, second = (f"dac_live_abcdefghijkl_{part}{'abcdefghijklmnopqrstuvwxyz0123456789'}" for part in "XY")
    callers = Callers(PostgresStore(database), SIGNER, KEYRING)
    for token in (first, second):
        await identity.bootstrap(Secret(token))
        assert await refused(callers, token) is None
