"""Organisations and keys on a real database: first start, who may give what, tenants apart, audit told once."""

from __future__ import annotations

import asyncio
import datetime as dt
import stat
import time

import pytest

from dac.gateway.v1 import identity_pb2
from dac.type.v1.principal_pb2 import Principal
from mesh.call import Call, serving
from mesh.config import Secret
from mesh.errors import MeshError, Reason
from mesh.ids import uuid7
from mesh.keyring import Keyring
from services.gateway.identity import identity as identity_module
from services.gateway.identity import key_tokens
from services.gateway.identity.callers import KNOWN_SCOPES
from services.gateway.identity.server import IdentityServicer
from tests.integration.gateway.conftest import outcome

SECRET = "abcdefghijklmnopqrstuvwxyz0123456789"
WIDER = {"operator": set(KNOWN_SCOPES), "admin": {"admin", "read"}, "read": {"read"}, "chat": {"chat"}}


def acting(org_id, *scopes):
    """Calls made inside come from a key with these scopes."""
    return serving(Call(principal=Principal(kind=Principal.KIND_USER_KEY, org_id=org_id, key_id="k", scopes=scopes)))


async def all_keys(identity):
    return (await identity.keys(identity.default_org_id, 1000, ""))[0]


async def make(identity, org_id, *scopes, held=("operator",), **more):
    values = {"name": "k", "models": [], "expires_at": None, **more}
    return await identity.create_key(org_id, scopes=scopes, held=held, actor="key:maker", **values)


async def test_the_first_start_makes_one_key_and_the_next_ones_none(world):
    identity = world.identity()
    token = await identity.bootstrap(None)
    assert await outcome(world.callers(), token) is None
    assert set((await all_keys(identity))[0].scopes) == {"chat", "read", "admin"}
    again = world.identity()
    assert await again.bootstrap(None) is None
    assert (again.default_org_id, again.operator_token) == (identity.default_org_id, identity.operator_token)
    assert [one.name for one in await identity.organisations()] == ["default"] and len(await all_keys(identity)) == 1
    file = world.folder / "secrets" / "operator.token"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


@pytest.mark.parametrize("wanted", [None, Secret(f"dac_live_abcdefghijkl_{SECRET}")])
async def test_replicas_that_start_together_make_one_organisation_and_one_key(world, wanted):
    replicas = [world.identity() for _ in range(6)]
    tokens = await asyncio.gather(*(one.bootstrap(wanted) for one in replicas))
    assert len([token for token in tokens if token]) == (1 if wanted is None else 0)
    assert {one.default_org_id for one in replicas} == {replicas[0].default_org_id}
    assert len({one.operator_token for one in replicas}) == 1
    assert [one.name for one in await replicas[0].organisations()] == ["default"]
    assert len(await all_keys(replicas[0])) == 1


async def test_a_bootstrap_key_that_comes_later_is_added_and_an_old_one_stays(world, caplog):
    identity, callers = world.identity(), world.callers()
    tokens = [
        f"dac_live_{lookup}_{part}{SECRET}" for lookup, part in (("a" * 12, "X"), ("b" * 12, "X"), ("b" * 12, "Y"))
    ]
    for number, token in enumerate(tokens):
        for _ in range(2):
            assert await identity.bootstrap(Secret(token)) is None
        assert len(await all_keys(identity)) == number + 1
        assert await outcome(callers, token) is None
    assert "added it" in caplog.text and SECRET not in caplog.text


async def test_a_revoked_bootstrap_key_does_not_come_back_with_the_next_start(world):
    identity, token = world.identity(), f"dac_live_{'a' * 12}_{SECRET}"
    await identity.bootstrap(Secret(token))
    key = (await all_keys(identity))[0]
    await identity.revoke(key.org_id, key.key_id, "operator")
    await world.identity().bootstrap(Secret(token))
    assert await outcome(world.callers(), token) is Reason.INVALID_CREDENTIAL


@pytest.mark.parametrize(
    "token", ["hunter2hunter2", "dac_live_abcdefghijkl_" + "a1" * 20, "dac_live_abcdefghijkl_" + SECRET[:31]]
)
async def test_a_weak_bootstrap_key_is_refused_before_anything_is_made(world, token):
    with pytest.raises(MeshError, match="DAC_BOOTSTRAP_API_KEY is weak") as caught:
        await world.identity().bootstrap(Secret(token))
    assert caught.value.reason is Reason.FAILED_PRECONDITION
    assert token not in caught.value.message and token.rsplit("_")[-1] not in caught.value.message
    assert await world.identity().organisations() == []


async def test_a_database_of_another_master_key_is_refused(world):
    await world.identity().bootstrap(None)
    with pytest.raises(MeshError, match="another master key") as caught:
        await world.identity(keyring=Keyring(bytes(32))).bootstrap(None)
    assert caught.value.reason is Reason.FAILED_PRECONDITION


@pytest.mark.parametrize("held", KNOWN_SCOPES)
@pytest.mark.parametrize("wanted", KNOWN_SCOPES)
async def test_nobody_gives_a_scope_they_lack(world, held, wanted):
    identity = world.identity()
    await identity.bootstrap(None)
    if wanted in WIDER[held]:
        key, _ = await make(identity, identity.default_org_id, wanted, held=[held])
        assert key.scopes == (wanted,)
        return
    with pytest.raises(MeshError, match=f'"{wanted}"') as caught:
        await make(identity, identity.default_org_id, wanted, held=[held])
    assert caught.value.reason is Reason.PERMISSION_DENIED and len(await all_keys(identity)) == 1


async def test_a_key_without_named_scopes_gets_no_more_than_its_maker(world):
    identity = world.identity()
    await identity.bootstrap(None)
    assert (await make(identity, identity.default_org_id))[0].scopes == ("chat", "read")
    with pytest.raises(MeshError, match='"chat"'):
        await make(identity, identity.default_org_id, held=["admin"])


@pytest.mark.parametrize(
    ("more", "field"),
    [
        ({"name": ""}, "name"),
        ({"name": "x" * 101}, "name"),
        ({"name": "a\x00b"}, "name"),
        ({"models": ["openai gpt"]}, "models"),
        ({"expires_at": dt.datetime(2001, 1, 1, tzinfo=dt.UTC)}, "expires_at"),
        ({"scopes": ["root"]}, "scopes"),
    ],
)
async def test_a_wrong_field_of_a_new_key_is_named(world, more, field):
    identity = world.identity()
    with pytest.raises(MeshError) as caught:
        await make(identity, uuid7(), *more.pop("scopes", ()), **more)
    assert caught.value.reason is Reason.INVALID_REQUEST and caught.value.metadata["field"] == field


@pytest.mark.parametrize("name", ["", "A", "-a", "a" * 64, "a b", "a\n", "default"])
async def test_a_wrong_or_taken_organisation_name_is_refused(world, name):
    identity = world.identity()
    await identity.bootstrap(None)
    with pytest.raises(MeshError) as caught:
        await identity.create_organisation(name, "operator")
    assert caught.value.reason is (Reason.ALREADY_EXISTS if name == "default" else Reason.INVALID_REQUEST)


async def test_organisations_do_not_see_or_revoke_each_others_keys(world):
    identity = world.identity()
    await identity.bootstrap(None)
    servicer = IdentityServicer(identity)
    mine, other = identity.default_org_id, (await identity.create_organisation("other", "operator")).org_id
    key, token = await make(identity, other)
    with acting(mine, "admin", "chat"):
        listed = await servicer.ListApiKeys(identity_pb2.ListApiKeysRequest(), None)
        assert key.key_id not in {one.key_id for one in listed.keys}
        assert [one.org_id for one in (await servicer.ListOrganisations(None, None)).organisations] == [mine]
        for key_id in (key.key_id, uuid7(), "x", ""):
            with pytest.raises(MeshError) as caught:
                await servicer.RevokeApiKey(identity_pb2.RevokeApiKeyRequest(key_id=key_id), None)
            assert caught.value.reason is Reason.NOT_FOUND
        with pytest.raises(MeshError) as caught:
            await servicer.CreateApiKey(identity_pb2.CreateApiKeyRequest(name="k", org_id=other), None)
        assert caught.value.reason is Reason.PERMISSION_DENIED
    assert await outcome(world.callers(), token) is None
    with acting(mine, "operator"):
        made = await servicer.CreateApiKey(identity_pb2.CreateApiKeyRequest(name="k", org_id=other), None)
        assert made.key.org_id == other
        with pytest.raises(MeshError) as caught:
            await servicer.CreateApiKey(identity_pb2.CreateApiKeyRequest(name="k", org_id=uuid7()), None)
        assert caught.value.reason is Reason.NOT_FOUND


@pytest.mark.parametrize("scopes", [("chat", "read"), ()])
async def test_without_admin_nobody_touches_keys(world, scopes):
    identity = world.identity()
    await identity.bootstrap(None)
    servicer = IdentityServicer(identity)
    with acting(identity.default_org_id, *scopes):
        for rpc, request in (
            (servicer.CreateApiKey, identity_pb2.CreateApiKeyRequest(name="k")),
            (servicer.ListApiKeys, identity_pb2.ListApiKeysRequest()),
            (servicer.RevokeApiKey, identity_pb2.RevokeApiKeyRequest(key_id=uuid7())),
            (servicer.CreateOrganisation, identity_pb2.CreateOrganisationRequest(name="o")),
        ):
            with pytest.raises(MeshError) as caught:
                await rpc(request, None)
            assert caught.value.reason is Reason.PERMISSION_DENIED


@pytest.mark.parametrize("seconds", [10**15, -(10**15), 0])
async def test_an_impossible_expiry_is_named(world, seconds):
    identity = world.identity()
    await identity.bootstrap(None)
    request = identity_pb2.CreateApiKeyRequest(name="k", scopes=["read"])
    request.expires_at.seconds = seconds
    with acting(identity.default_org_id, "admin"), pytest.raises(MeshError) as caught:
        await IdentityServicer(identity).CreateApiKey(request, None)
    assert caught.value.metadata == {"field": "expires_at"}


async def test_keys_are_paged_newest_first_without_gaps(world):
    identity = world.identity()
    await identity.bootstrap(None)
    made = [(await make(identity, identity.default_org_id, name=f"k{number}"))[0].name for number in range(5)]
    seen, token = [], ""
    while True:
        page, token = await identity.keys(identity.default_org_id, 2, token)
        seen += [one.name for one in page]
        if not token:
            break
    assert seen == [*reversed(made), "first"]
    wrong = ["zz", "00", "ff", b"2026-01-01 x".hex(), f"nonsense {uuid7()}".encode().hex()]
    far = [f"{at} {uuid7()}".encode().hex() for at in ("0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00")]
    for bad in wrong + far:
        with pytest.raises(MeshError) as caught:
            await identity.keys(identity.default_org_id, 2, bad)
        assert caught.value.reason is Reason.INVALID_REQUEST, bytes.fromhex(bad) if bad != "zz" else bad


async def test_audit_hears_of_every_change_once_although_it_was_away_and_never_of_a_secret(world, monkeypatch):
    monkeypatch.setattr(identity_module, "TELL_EVERY_S", 0.02)
    world.append_fails = 1
    identity, store = world.identity(), world.store()
    first = await identity.bootstrap(None)
    other = await identity.create_organisation("other", "operator")
    key, token = await make(identity, other.org_id)
    await identity.start()
    try:
        for _ in range(2):
            await identity.revoke(other.org_id, key.key_id, "key:revoker")
        end = time.monotonic() + 10
        while any(row.has_changes for row in await store.organisations()):
            assert time.monotonic() < end, "audit was not told"
            await asyncio.sleep(0.01)
    finally:
        await identity.close()
    assert world.append_fails == 0
    assert len({one.record_id for one in world.delivered}) == len(world.delivered)
    told = sorted((one.action, one.org_id == other.org_id, one.actor) for one in world.delivered)
    assert told == [
        ("key.create", False, "operator"),
        ("key.create", True, "key:maker"),
        ("key.revoke", True, "key:revoker"),
        ("organisation.create", False, "operator"),
        ("organisation.create", True, "operator"),
    ]
    raw = b"".join(one.SerializeToString() for one in world.delivered)
    for secret in (first, token):
        assert key_tokens.parse(secret).secret.encode() not in raw
        assert key_tokens.parse(secret).prefix.encode() in raw


async def test_what_audit_was_not_told_is_told_after_the_next_start(world):
    await world.identity().bootstrap(None)
    assert world.delivered == []
    later, store = world.identity(), world.store()
    await later.start()
    try:
        end = time.monotonic() + 10
        while any(row.has_changes for row in await store.organisations()):
            assert time.monotonic() < end
            await asyncio.sleep(0.01)
    finally:
        await later.close()
    assert sorted(one.action for one in world.delivered) == ["key.create", "organisation.create"]


async def test_a_failure_without_a_name_does_not_end_the_telling(world, monkeypatch):
    monkeypatch.setattr(identity_module, "TELL_EVERY_S", 0.02)
    identity, heard = world.identity(), asyncio.Event()
    failures = [RuntimeError("nobody expected this")]

    async def append(records):
        if failures:
            raise failures.pop()
        heard.set()

    identity._append = append
    await identity.bootstrap(None)
    await identity.start()
    try:
        await asyncio.wait_for(heard.wait(), 10)
    finally:
        await identity.close()


async def test_no_table_holds_a_tokens_secret(world):
    identity = world.identity()
    secret = key_tokens.parse(await identity.bootstrap(None)).secret
    for table in ("api_keys", "admin_outbox", "organisations"):
        for row in await world.as_superuser(f"SELECT t::text, * FROM gateway.{table} t"):
            for value in row.values():
                assert secret not in str(value) and (not isinstance(value, bytes) or secret.encode() not in value)
