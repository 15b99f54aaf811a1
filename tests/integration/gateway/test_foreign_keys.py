"""Keys of another gateway, taken over by their SHA-256: who sends the old key is let in, and revoked like anybody."""

from __future__ import annotations

import asyncio
import datetime as dt
import hashlib
import hmac
import secrets

import pytest

from dac.gateway.v1 import identity_pb2
from dac.type.v1.principal_pb2 import Principal
from mesh.call import Call, serving
from mesh.errors import MeshError, Reason
from services.gateway.identity import key_tokens
from services.gateway.identity.identity import DEFAULT_SCOPES, ForeignKey
from services.gateway.identity.server import IdentityServicer
from tests.integration.gateway.conftest import outcome
from tests.integration.gateway.test_callers import refused_within_a_second


def old_key():
    """A key as the other gateway makes them, and its SHA-256."""
    token = f"sk-{secrets.token_urlsafe(16)}"
    return token, hashlib.sha256(token.encode()).hexdigest()


async def take_over(identity, *keys, org_id=None):
    return await identity.import_keys(org_id or identity.default_org_id, keys, "litellm", "operator")


async def started(world):
    identity = world.identity()
    await identity.bootstrap(None)
    return identity, await world.started(world.callers())


async def test_who_sends_the_old_key_is_let_in_with_what_the_key_may(world):
    identity, callers = await started(world)
    token, sha256 = old_key()
    assert await outcome(callers, token) is Reason.INVALID_CREDENTIAL
    ((key, added),) = await take_over(identity, ForeignKey(sha256.upper(), "app", "sk-…abcd", ("gpt-4o",)))
    async with asyncio.timeout(1):
        while await outcome(callers, token) is not None:
            await asyncio.sleep(0.01)
    caller = await callers.authenticate(token)
    assert added and (caller.principal.key_id, caller.principal.org_id) == (key.key_id, identity.default_org_id)
    assert tuple(caller.principal.scopes) == DEFAULT_SCOPES and caller.models == ("gpt-4o",)
    assert key.prefix == "sk-…abcd"


async def test_a_second_import_changes_nothing_and_says_so(world):
    identity, callers = await started(world)
    token, sha256 = old_key()
    ((first, _),) = await take_over(identity, ForeignKey(sha256, "app"))
    again = await take_over(identity, ForeignKey(sha256, "other name", blocked=True), ForeignKey(sha256, "twice"))
    assert again == [(first, False), (first, False)] and first.prefix == f"sha256:{sha256[:8]}"
    assert await outcome(callers, token) is None


async def test_imports_that_run_at_once_make_one_key(world):
    replicas = [world.identity() for _ in range(4)]
    for one in replicas:
        await one.bootstrap(None)
    _, sha256 = old_key()
    done = await asyncio.gather(*(take_over(one, ForeignKey(sha256, "app")) for one in replicas))
    assert sum(added for ((_, added),) in done) == 1 and len({key.key_id for ((key, _),) in done}) == 1


async def test_a_blocked_an_expired_and_a_revoked_key_are_refused_by_name(world):
    identity, callers = await started(world)
    (blocked, one), (expired, two), (revoked, three) = old_key(), old_key(), old_key()
    past = dt.datetime.now(dt.UTC) - dt.timedelta(days=1)
    made = await take_over(
        identity, ForeignKey(one, "b", blocked=True), ForeignKey(two, "e", expires_at=past), ForeignKey(three, "r")
    )
    for token, word in ((blocked, "revoked"), (expired, "expired")):
        with pytest.raises(MeshError, match=word) as caught:
            await callers.authenticate(token)
        assert caught.value.reason is Reason.INVALID_CREDENTIAL
    assert await outcome(callers, revoked) is None
    await identity.revoke(identity.default_org_id, made[2][0].key_id, "operator")
    await refused_within_a_second([callers], revoked)


async def test_neither_the_key_nor_its_sha256_is_stored(world):
    identity, _ = await started(world)
    token, sha256 = old_key()
    await take_over(identity, ForeignKey(sha256, "app"))
    rows = await world.as_superuser("SELECT a::text || encode(hash, 'hex') FROM gateway.api_keys a")
    told = await world.as_superuser("SELECT encode(record, 'escape') FROM gateway.admin_outbox")
    text = " ".join(str(row[0]) for row in (*rows, *told))
    assert "app" in text and token not in text and sha256 not in text and sha256[8:24] not in text


async def test_only_the_whole_key_counts(world):
    """A row that is found by its lookup id, but whose hash differs, lets nobody in."""
    identity, callers = await started(world)
    token, sha256 = old_key()
    await take_over(identity, ForeignKey(sha256, "app"))
    async with world.database().transaction(identity.default_org_id) as connection:
        await connection.execute("UPDATE api_keys SET hash = $1 WHERE name = 'app'", hmac.digest(b"k", b"x", "sha256"))
    assert await outcome(callers, token) is Reason.INVALID_CREDENTIAL


async def test_a_key_that_can_be_guessed_is_refused_although_its_hash_came_in(world):
    identity, callers = await started(world)
    for token in ("sk-1234", "sk-" + "a" * (key_tokens.FOREIGN_LENGTH - 4)):
        await take_over(identity, ForeignKey(hashlib.sha256(token.encode()).hexdigest(), "short"))
        with pytest.raises(MeshError, match="can be guessed") as caught:
            await callers.authenticate(token)
        assert caught.value.reason is Reason.INVALID_CREDENTIAL and token not in caught.value.message


async def test_another_organisation_cannot_take_a_key_and_nothing_of_that_import_stays(world):
    identity, callers = await started(world)
    other = await identity.create_organisation("other", "operator")
    (_, taken), (token, fresh) = old_key(), old_key()
    await take_over(identity, ForeignKey(taken, "app"))
    with pytest.raises(MeshError, match='"mine"') as caught:
        await take_over(identity, ForeignKey(fresh, "new"), ForeignKey(taken, "mine"), org_id=other.org_id)
    assert caught.value.reason is Reason.ALREADY_EXISTS
    assert await outcome(callers, token) is Reason.INVALID_CREDENTIAL


@pytest.mark.parametrize(
    ("keys", "source"),
    [
        ([], "litellm"),
        ([ForeignKey("ab" * 32, "k")] * 501, "litellm"),
        ([ForeignKey("ab" * 32, "k")], "Lite LLM"),
        ([ForeignKey("sk-abc", "k")], "litellm"),
        ([ForeignKey("ab" * 32, "")], "litellm"),
        ([ForeignKey("ab" * 32, "k", models=("no spaces",))], "litellm"),
        ([ForeignKey("ab" * 32, "k", hint="\n")], "litellm"),
    ],
)
async def test_what_is_no_key_is_refused_by_name(world, keys, source):
    identity, _ = await started(world)
    with pytest.raises(MeshError) as caught:
        await identity.import_keys(identity.default_org_id, keys, source, "operator")
    assert caught.value.reason is Reason.INVALID_REQUEST and caught.value.metadata["field"]


async def test_only_the_operator_imports_and_audit_hears_of_it(world):
    identity, _ = await started(world)
    _, sha256 = old_key()
    request = identity_pb2.ImportKeysRequest(
        keys=[identity_pb2.ForeignKey(sha256=sha256, name="app")], source="litellm"
    )
    for scopes in (("admin", "chat", "read"), ("operator",)):
        who = Principal(kind=Principal.KIND_USER_KEY, org_id=identity.default_org_id, key_id="k", scopes=scopes)
        with serving(Call(principal=who)):
            if "operator" not in scopes:
                with pytest.raises(MeshError) as caught:
                    await IdentityServicer(identity).ImportKeys(request, None)
                assert caught.value.reason is Reason.PERMISSION_DENIED
                continue
            answer = await IdentityServicer(identity).ImportKeys(request, None)
    assert answer.keys[0].added and answer.keys[0].key.name == "app"
    await identity.start()
    try:
        async with asyncio.timeout(10):
            while "key.import" not in {one.action for one in world.delivered}:
                await asyncio.sleep(0.01)
    finally:
        await identity.close()
