"""Several keys of a provider: whose key is sent, what is left when one is refused, and that nobody sees another's."""

import dataclasses
import pathlib
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest

from dac.provider.v1 import key_pb2, key_pb2_grpc, provider_pb2, provider_pb2_grpc
from dac.type.v1 import principal_pb2, record_pb2
from mesh import call as calls
from mesh.admin_changes import ChangeOutbox
from mesh.catalog import ProviderEntry
from mesh.config import Secret
from mesh.errors import MeshError, Reason
from mesh.ids import uuid7
from mesh.inprocess import LocalChannel
from mesh.inprocess_calls import MethodTable
from mesh.keyring import Keyring
from mesh.postgres import Database
from mesh.service import Context
from mesh.transport import reading
from services.provider.config import ProviderConfig
from services.provider.keys.store import PostgresKeyStore
from services.provider.server import ProviderApp, build
from tests.upstream import Upstream

OPERATORS = "sk-operator-0123456789abcdef"
FIRST = "sk-canary-first-0123456789ab"
SECOND = "sk-canary-second-0123456789cd"
BAD = "sk-bad-0123456789abcdefgh"
MASTER = Keyring(b"m" * 32)
ASKED = provider_pb2.GenerateRequest(
    input=b'{"model":"x","messages":[{"role":"user","content":"hi"}]}',
    candidates=[provider_pb2.GenerateCandidate(model="d/m", provider="filed", upstream_name="m")],
)
EMBED = provider_pb2.EmbedRequest(
    input=b'{"model":"x","input":"hi"}',
    candidates=[provider_pb2.GenerateCandidate(model="d/e", provider="filed", upstream_name="embed")],
    vectors=1,
)


def context_of(database: Database, upstream: Upstream, keyring: Keyring = MASTER) -> Context:
    def channel_to(service: str) -> Any:
        raise MeshError(Reason.UNAVAILABLE, f"{service} is not part of this test")

    return Context(
        name="provider",
        config=ProviderConfig(poll_interval_s=0.2),
        providers=(
            ProviderEntry("filed", "openai", upstream.base_url, Secret(OPERATORS)),
            ProviderEntry("needy", "openai", upstream.base_url, require_key=True),
        ),
        models=(),
        data_dir=pathlib.Path(),
        keyring=keyring,
        signer=None,  # type: ignore[arg-type]
        database=database,
        channel_to=channel_to,
    )


@dataclasses.dataclass
class House:
    """A provider service with its stubs."""

    app: ProviderApp
    upstream: Upstream
    provider: Any
    keys: Any

    async def add(self, org_id: str, key: str, provider: str = "filed", **fields: Any) -> Any:
        """A key of an organisation, made by its administrator; without one, by the operator."""
        request = key_pb2.CreateProviderKeyRequest(org_id=org_id, provider=provider, api_key=key, **fields)
        with acting(org_id, "admin") if org_id else acting(uuid7(), "operator"):
            return (await self.keys.CreateProviderKey(request)).key

    async def listed(self, org_id: str) -> list[key_pb2.ProviderKey]:
        with acting(org_id, "admin"):
            return list((await self.keys.ListProviderKeys(key_pb2.ListProviderKeysRequest(org_id=org_id))).keys)

    async def chat(self, org_id: str, provider: str = "filed") -> Any:
        request = provider_pb2.GenerateRequest()
        request.CopyFrom(ASKED)
        request.candidates[0].provider = provider
        with acting(org_id, "chat"):
            async with reading(self.provider.Generate(request)) as stream:
                return [event async for event in stream][-1]

    def sent(self) -> list[str]:
        """The keys that the upstream saw, and forgets them."""
        found = [one.headers["authorization"].removeprefix("Bearer ") for one in self.upstream.requests]
        self.upstream.requests.clear()
        return found


def acting(org_id: str, *scopes: str) -> Any:
    return calls.serving(calls.Call(principal=principal_pb2.Principal(scopes=scopes, org_id=org_id, key_id="k1")))


@pytest.fixture
async def upstream() -> AsyncIterator[Upstream]:
    async with Upstream() as running:
        yield running


@pytest.fixture
async def make_house(
    database_for: Callable[..., Awaitable[Database]], upstream: Upstream
) -> AsyncIterator[Callable[..., Awaitable[House]]]:
    made: list[ProviderApp] = []

    async def make(keyring: Keyring = MASTER) -> House:
        app = build(context_of(await database_for("provider"), upstream, keyring))
        await app.start()
        made.append(app)
        table = MethodTable()
        app.register(table)  # type: ignore[arg-type]
        channel = LocalChannel(table)
        provider = provider_pb2_grpc.ProviderServiceStub(channel)
        return House(app, upstream, provider, key_pb2_grpc.KeyServiceStub(channel))

    yield make
    for app in made:
        await app.close()


@pytest.fixture
async def house(make_house: Callable[..., Awaitable[House]]) -> AsyncIterator[House]:
    made = await make_house()
    yield made
    store = PostgresKeyStore(made.app._database)  # type: ignore[arg-type]
    for row in await store.read(""):
        await store.remove("", row.key_id, None)


async def test_every_organisation_is_served_with_its_own_key(house: House) -> None:
    first, second, third = uuid7(), uuid7(), uuid7()
    one, two = await house.add(first, FIRST), await house.add(second, SECOND)
    assert (one.key_hint, one.weight, one.is_active, one.unusable_because) == ("89ab", 1, True, "")
    for org_id, key_id, key in ((first, one.key_id, FIRST), (second, two.key_id, SECOND), (third, "", OPERATORS)):
        ended = await house.chat(org_id)
        assert [attempt.provider_key_id for attempt in ended.finish.attempts] == [key_id]
        with acting(org_id, "chat"):
            embedded = await house.provider.Embed(EMBED)
        assert embedded.answer.attempts[0].provider_key_id == key_id
        assert house.sent() == [key, key]
        assert key.encode() not in ended.SerializeToString() + embedded.SerializeToString()


async def test_another_replica_follows(house: House, make_house: Callable[..., Awaitable[House]]) -> None:
    other, org_id = await make_house(), uuid7()
    await house.add(org_id, FIRST)
    await other.app.registry.refresh()
    await other.chat(org_id)
    assert other.sent() == [FIRST]


async def test_a_refused_key_rests_and_the_others_are_taken(house: House, caplog: pytest.LogCaptureFixture) -> None:
    org_id = uuid7()
    bad = await house.add(org_id, BAD, weight=1000)
    good = await house.add(org_id, FIRST)
    for _ in range(5):
        ended = await house.chat(org_id)
        assert ended.finish.attempts[-1].provider_key_id == good.key_id
    assert house.sent().count(BAD) == 1
    because = {key.key_id: key.unusable_because for key in await house.listed(org_id)}
    assert "refused it (401)" in because[bad.key_id] and because[good.key_id] == ""
    assert bad.key_id in caplog.text and BAD not in caplog.text
    # Replaced, it is tried at once.
    with acting(org_id, "admin"):
        request = key_pb2.UpdateProviderKeyRequest(org_id=org_id, key_id=bad.key_id, api_key=SECOND)
        changed = (await house.keys.UpdateProviderKey(request)).key
    assert (changed.key_hint, changed.unusable_because, changed.weight) == ("89cd", "", 1000)
    house.app.registry.book._draw = lambda: 0.5
    await house.chat(org_id)
    assert house.sent() == [SECOND]


async def test_without_a_usable_key_of_its_own_the_operators_is_not_taken(house: House) -> None:
    org_id, other = uuid7(), uuid7()
    key = await house.add(org_id, BAD)
    for _ in range(8):
        failure = (await house.chat(org_id)).failure
    assert failure.reason == Reason.PROVIDER_BUSY and failure.retry_after_s > 200
    assert "your organisation's 1 key(s) for filed" in failure.message
    assert house.sent() == [BAD]
    # Organisations' bad keys are no failure of the provider.
    for _ in range(6):
        third = uuid7()
        await house.add(third, BAD)
        assert (await house.chat(third)).failure.status_code == 401
    assert house.sent() == [BAD] * 6
    assert not house.app.generator.health.failing("filed", "m")
    assert (await house.chat(other)).finish.attempts and house.sent() == [OPERATORS]
    with acting(org_id, "admin"):
        off = key_pb2.UpdateProviderKeyRequest(org_id=org_id, key_id=key.key_id, is_active=False, api_key=FIRST)
        await house.keys.UpdateProviderKey(off)
    failure = (await house.chat(org_id)).failure
    assert failure.reason == Reason.FAILED_PRECONDITION and house.sent() == []
    with acting(org_id, "admin"):
        await house.keys.DeleteProviderKey(key_pb2.DeleteProviderKeyRequest(org_id=org_id, key_id=key.key_id))
    await house.chat(org_id)
    assert house.sent() == [OPERATORS]


async def test_the_refusal_names_whose_key_it_was(house: House) -> None:
    org_id = uuid7()
    await house.add(org_id, BAD)
    failure = (await house.chat(org_id)).failure
    assert "your organisation's key ending in efgh" in failure.attempts[0].message


async def test_a_limited_key_rests_as_long_as_it_was_told(house: House) -> None:
    org_id = uuid7()
    now = 1000.0
    house.app.registry.book._clock = lambda: now
    house.app.registry.book._draw = lambda: 0.0
    first, second = await house.add(org_id, FIRST), await house.add(org_id, SECOND)
    house.upstream.script("status", status=429, retry_after="40", times=1)
    ended = await house.chat(org_id)
    assert [one.provider_key_id for one in ended.finish.attempts] == [first.key_id, second.key_id]
    now += 39.0
    await house.chat(org_id)
    now += 2.0
    await house.chat(org_id)
    assert house.sent() == [FIRST, SECOND, SECOND, FIRST]


async def test_the_operators_further_keys_share_the_work(house: House) -> None:
    org_id = uuid7()
    with pytest.raises(MeshError), acting(org_id, "admin"):
        await house.keys.CreateProviderKey(key_pb2.CreateProviderKeyRequest(provider="filed", api_key=FIRST))
    key = await house.add("", FIRST, weight=3)
    book = house.app.registry.book
    for draw in (0.1, 0.7, 0.8):
        book._draw = lambda draw=draw: draw  # type: ignore[misc]
        await house.chat(org_id)
    assert house.sent() == [FIRST, FIRST, OPERATORS]
    house.upstream.script("status", status=401, times=1)
    book._draw = lambda: 0.0
    ended = await house.chat(org_id)
    assert [one.provider_key_id for one in ended.finish.attempts] == [key.key_id, ""]
    assert await house.listed(org_id) == []


async def test_a_provider_that_only_own_keys_open(house: House) -> None:
    org_id, other = uuid7(), uuid7()
    failure = (await house.chat(org_id, "needy")).failure
    assert "it has no api_key" in failure.message
    await house.add(org_id, FIRST, "needy")
    await house.add(org_id, FIRST, "mistral")
    assert (await house.chat(org_id, "needy")).finish.attempts
    failure = (await house.chat(other, "needy")).failure
    assert "it has no api_key" in failure.message and house.sent() == [FIRST]
    async with reading(house.provider.WatchProviders(provider_pb2.WatchProvidersRequest())) as stream:
        async for news in stream:
            known = {one.provider: one for one in news.providers}
            break
    assert not known["needy"].enabled and list(known["needy"].org_ids) == [org_id]
    assert not known["mistral"].enabled and list(known["mistral"].org_ids) == [org_id]
    assert known["filed"].enabled and not known["filed"].org_ids
    for who, names in ((org_id, ["filed", "mistral", "needy"]), (other, ["filed", "needy"])):
        with acting(who, "admin"):
            shown = (await house.keys.ListProviders(key_pb2.ListProvidersRequest())).providers
        assert [one.provider for one in shown] == names and not any(one.org_ids for one in shown)
    # A key for everybody opens it for everybody.
    await house.add("", SECOND, "needy")
    assert (await house.chat(other, "needy")).finish.attempts and house.sent() == [SECOND]


async def test_another_organisation_sees_and_changes_nothing(house: House) -> None:
    mine, theirs = uuid7(), uuid7()
    key = await house.add(mine, FIRST)
    with acting(theirs, "admin"):
        for request in (
            house.keys.ListProviderKeys(key_pb2.ListProviderKeysRequest(org_id=mine)),
            house.keys.UpdateProviderKey(key_pb2.UpdateProviderKeyRequest(org_id=mine, key_id=key.key_id)),
            house.keys.DeleteProviderKey(key_pb2.DeleteProviderKeyRequest(org_id=mine, key_id=key.key_id)),
            house.keys.CreateProviderKey(key_pb2.CreateProviderKeyRequest(org_id=mine, provider="filed", api_key="k")),
        ):
            with pytest.raises(MeshError) as caught:
                await request
            assert caught.value.reason is Reason.PERMISSION_DENIED
        for request in (
            house.keys.UpdateProviderKey(key_pb2.UpdateProviderKeyRequest(org_id=theirs, key_id=key.key_id)),
            house.keys.DeleteProviderKey(key_pb2.DeleteProviderKeyRequest(org_id=theirs, key_id=key.key_id)),
        ):
            with pytest.raises(MeshError) as caught:
                await request
            assert caught.value.reason is Reason.NOT_FOUND
    with acting(mine, "read", "chat"), pytest.raises(MeshError) as caught:
        await house.keys.ListProviderKeys(key_pb2.ListProviderKeysRequest(org_id=mine))
    assert caught.value.reason is Reason.PERMISSION_DENIED
    assert await house.listed(theirs) == [] and len(await house.listed(mine)) == 1
    database = house.app._database
    assert database is not None
    for allowed, rows in (((), 0), ((theirs,), 0), ((mine,), 1)):
        async with database.transaction(*allowed) as connection:
            assert await connection.fetchval("SELECT count(*) FROM provider_keys WHERE org_id = $1", mine) == rows


async def test_a_ciphertext_opens_in_its_own_row_alone(house: House, make_house: Callable[..., Any]) -> None:
    mine, theirs = uuid7(), uuid7()
    taken, own, twin = await house.add(mine, FIRST), await house.add(theirs, SECOND), await house.add(mine, SECOND)
    database = house.app._database
    assert database is not None
    async with database.transaction(mine, theirs) as connection:
        row = await connection.fetchrow("SELECT * FROM provider_keys WHERE key_id = $1", taken.key_id)
        assert FIRST.encode() not in row["sealed_key"] and FIRST not in str(dict(row))
        for key_id in (own.key_id, twin.key_id):
            await connection.execute(
                "UPDATE provider_keys SET sealed_key = $2, sealed_data_key = $3 WHERE key_id = $1",
                key_id,
                row["sealed_key"],
                row["sealed_data_key"],
            )
        # Nor can it be sent elsewhere.
        await connection.execute(
            "UPDATE provider_keys SET base_url = 'https://evil.example' WHERE key_id = $1", taken.key_id
        )
    moved = await make_house()
    shown = {key.key_id: key.unusable_because for org in (mine, theirs) for key in await moved.listed(org)}
    assert "cannot be opened" in shown[own.key_id] and "cannot be opened" in shown[twin.key_id]
    assert "another address" in shown[taken.key_id]
    assert (await moved.chat(theirs)).failure.reason == Reason.FAILED_PRECONDITION and moved.sent() == []


async def test_changes_are_told_to_audit_with_the_change(house: House) -> None:
    org_id = uuid7()
    key = await house.add(org_id, FIRST)
    with acting(org_id, "admin"):
        update = key_pb2.UpdateProviderKeyRequest(org_id=org_id, key_id=key.key_id, weight=7, api_key=SECOND)
        await house.keys.UpdateProviderKey(update)
        await house.keys.DeleteProviderKey(key_pb2.DeleteProviderKeyRequest(org_id=org_id, key_id=key.key_id))
    assert house.app._database is not None
    untold = await ChangeOutbox(house.app._database).untold()
    records = [record_pb2.AdminRecord.FromString(one.record) for one in untold]
    mine = [record for record in records if record.org_id == org_id]
    assert [(one.actor, one.action, one.target) for one in mine] == [
        ("key:k1", f"provider_key.{verb}", f"provider_key:{key.key_id}") for verb in ("create", "update", "delete")
    ]
    assert '"weight":7' in mine[1].after_json and '"key_hint":"89ab"' in mine[1].before_json
    assert FIRST not in str(mine) and SECOND not in str(mine)


async def test_the_same_request_makes_one_key(house: House) -> None:
    org_id, request_id = uuid7(), uuid7()
    first = await house.add(org_id, FIRST, request_id=request_id)
    assert (await house.add(org_id, FIRST, request_id=request_id)).key_id == first.key_id
    assert len(await house.listed(org_id)) == 1
    with pytest.raises(MeshError) as caught:
        await house.add(org_id, SECOND, request_id=request_id)
    assert caught.value.reason is Reason.ALREADY_EXISTS
    assert (await house.add(uuid7(), SECOND, request_id=request_id)).key_id != first.key_id


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"key": ""}, Reason.INVALID_REQUEST),
        ({"key": "two\nlines"}, Reason.INVALID_REQUEST),
        ({"key": " blank"}, Reason.INVALID_REQUEST),
        ({"key": "ключ"}, Reason.INVALID_REQUEST),
        ({"key": "k", "weight": -1}, Reason.INVALID_REQUEST),
        ({"key": "k", "weight": 1001}, Reason.INVALID_REQUEST),
        ({"key": "k", "request_id": "x"}, Reason.INVALID_REQUEST),
        ({"key": "k", "provider": "nobody"}, Reason.NOT_FOUND),
        ({"key": "k", "provider": "local"}, Reason.NOT_FOUND),
        ({"key": "k", "provider": "ollama"}, Reason.NOT_FOUND),
    ],
)
async def test_refused(house: House, fields: dict[str, Any], reason: Reason) -> None:
    org_id = uuid7()
    with pytest.raises(MeshError) as caught:
        await house.add(org_id, **fields)
    assert caught.value.reason is reason and await house.listed(org_id) == []


async def test_there_is_a_most(house: House) -> None:
    org_id = uuid7()
    for number in range(16):
        await house.add(org_id, f"sk-0123456789-{number}")
    with pytest.raises(MeshError, match="16 keys for filed already"):
        await house.add(org_id, FIRST)
    with acting(org_id, "admin"):
        page = await house.keys.ListProviderKeys(key_pb2.ListProviderKeysRequest(org_id=org_id, page_size=10))
        request = key_pb2.ListProviderKeysRequest(org_id=org_id, page_size=10, page_token=page.next_page_token)
        rest = await house.keys.ListProviderKeys(request)
    assert len({key.key_id for key in (*page.keys, *rest.keys)}) == 16 and rest.next_page_token == ""


async def test_few_organisations_secrets_are_open_at_a_time(house: House) -> None:
    book = house.app.registry.book
    book._opened_organisations = 2
    orgs = [uuid7() for _ in range(4)]
    for org_id in orgs:
        await house.add(org_id, FIRST)
    for org_id in orgs * 2:
        assert (await house.chat(org_id)).finish.attempts
        assert len(book._opened) <= 2
