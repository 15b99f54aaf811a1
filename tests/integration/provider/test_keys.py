"""Providers added through the API: stored sealed, followed by replicas, refused where they must be; servicers."""

import asyncio
import pathlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Any

import pytest

from dac.provider.v1 import key_pb2, key_pb2_grpc, provider_pb2, provider_pb2_grpc
from dac.type.v1 import principal_pb2, record_pb2
from mesh import call as calls
from mesh.admin_changes import ChangeOutbox, ChangeTeller
from mesh.catalog import ProviderEntry
from mesh.config import Secret
from mesh.errors import MeshError, Reason
from mesh.inprocess import LocalChannel
from mesh.inprocess_calls import MethodTable
from mesh.keyring import Keyring
from mesh.postgres import Database
from mesh.public_resolver import PublicResolver
from mesh.server import LiveHealth, Server
from mesh.service import Context
from mesh.transport import RemoteChannel, reading
from services.provider.config import ProviderConfig
from services.provider.keys.keys import Trial, list_models
from services.provider.server import ProviderApp, build
from tests.hostile_urls import DECEIVING_URLS, HOSTILE_URLS
from tests.upstream import Upstream
from tests.upstream.answers import WORDS

KEY = "sk-live-0123456789abcdefghij"


async def found_well(entry: ProviderEntry) -> Trial:
    return Trial(1.0, ("m1",))


def context_of(database: Database | None, upstream: Upstream, **fields: Any) -> Context:
    own = ProviderEntry("filed", "openai", upstream.base_url, Secret(KEY))

    def channel_to(service: str) -> Any:
        raise MeshError(Reason.UNAVAILABLE, f"{service} is not part of this test")

    return Context(
        name="provider",
        config=ProviderConfig(poll_interval_s=0.2),
        providers=(own,),
        models=(),
        data_dir=pathlib.Path(),
        keyring=Keyring(b"m" * 32),
        signer=None,  # type: ignore[arg-type]
        database=database,
        channel_to=channel_to,
        **fields,
    )


@pytest.fixture
async def upstream() -> AsyncIterator[Upstream]:
    async with Upstream() as running:
        yield running


@pytest.fixture
async def replicas(
    database_for: Callable[..., Awaitable[Database]], upstream: Upstream
) -> AsyncIterator[list[ProviderApp]]:
    apps = []
    for _ in range(2):
        app = build(context_of(await database_for("provider"), upstream))
        app.desk._test = found_well
        await app.start()
        apps.append(app)
    yield apps
    for app in apps:
        await app.close()
    # Not by name through the desk: providers of which organisations hold keys are known, too, and are none of these.
    async with (await database_for("provider")).transaction() as connection:
        await connection.execute("DELETE FROM providers")


def names(app: ProviderApp) -> list[str]:
    return [one.entry.provider for one in app.registry.providers()]


async def until(holds: Callable[[], bool], within_s: float) -> None:
    async with asyncio.timeout(within_s):
        while not holds():
            await asyncio.sleep(0.01)


@pytest.mark.parametrize("listening", [True, False])
async def test_replicas_follow_within_a_second(replicas: list[ProviderApp], listening: bool) -> None:
    first, second = replicas
    if not listening:
        database = second._database
        assert database is not None and database._listener is not None
        await database._listener.close()
    provider, test_ms = await first.desk.add("openai", "", "", KEY, skip_test=False)
    assert (provider.entry.kind, provider.key_hint, test_ms) == ("openai", "ghij", 1.0)
    assert provider.upstream_models == ("m1",)
    await until(lambda: "openai" in names(second), 1.0)
    google, _ = await first.desk.add("google", "", "", KEY, skip_test=True)
    assert (google.entry.kind, google.entry.base_url[-7:]) == ("gemini", "/v1beta")
    compatible, _ = await first.desk.add("google", "openai", "", KEY, skip_test=True)
    assert (compatible.entry.kind, compatible.entry.base_url[-14:]) == ("openai", "/v1beta/openai")
    aws = "https://bedrock-runtime.eu-west-1.amazonaws.com"
    bedrock, _ = await first.desk.add("aws", "bedrock", aws, KEY, skip_test=True)
    assert bedrock.entry.kind == "bedrock"
    line = second.registry.find("openai")
    assert line.provider.entry.api_key == Secret(KEY)
    await second.desk.remove("openai")
    await until(lambda: "openai" not in names(first), 1.0)
    with pytest.raises(Exception, match="not configured"):
        first.registry.find("openai")


async def test_audit_is_told_once_it_can_hear(replicas: list[ProviderApp], org_id: str) -> None:
    app = replicas[0]
    table, told = MethodTable(), list[record_pb2.AdminRecord]()
    app.register(table)  # type: ignore[arg-type]
    keys = key_pb2_grpc.KeyServiceStub(LocalChannel(table))
    operator = principal_pb2.Principal(scopes=["operator"], org_id=org_id, key_id="k1")
    with calls.serving(calls.Call(principal=operator)):
        await keys.AddProvider(key_pb2.AddProviderRequest(provider="openai", api_key=KEY))
        await keys.RemoveProvider(key_pb2.RemoveProviderRequest(provider="openai"))
    operator = principal_pb2.Principal(kind=principal_pb2.Principal.KIND_OPERATOR, scopes=["operator"], org_id=org_id)
    with calls.serving(calls.Call(principal=operator)):
        await keys.AddProvider(key_pb2.AddProviderRequest(provider="mistral", api_key=KEY))

    async def deaf(records: object) -> None:
        raise MeshError(Reason.UNAVAILABLE, "audit is away")

    async def hear(records: Sequence[bytes]) -> None:
        told.extend(record_pb2.AdminRecord.FromString(record) for record in records)

    assert app._database is not None
    outbox = ChangeOutbox(app._database)
    with pytest.raises(MeshError):
        await ChangeTeller("provider", outbox, deaf).tell()
    await ChangeTeller("provider", outbox, hear).tell()
    mine = [record for record in told if record.org_id == org_id]
    assert [(r.actor, r.action, r.target) for r in mine] == [
        ("key:k1", "provider.add", "provider:openai"),
        ("key:k1", "provider.remove", "provider:openai"),
        ("operator", "provider.add", "provider:mistral"),
    ]
    assert "api.openai.com" in mine[0].after_json and KEY not in str(told)
    assert await ChangeTeller("provider", outbox, hear).tell() == 0


async def test_no_plain_key_is_stored(replicas: list[ProviderApp]) -> None:
    app = replicas[0]
    await app.desk.add("mistral", "", "", KEY, skip_test=True)
    database = app._database
    assert database is not None
    async with database.transaction() as connection:
        row = await connection.fetchrow("SELECT * FROM providers WHERE provider = 'mistral'")
        assert KEY.encode() not in b"".join(bytes(v) for v in row.values() if isinstance(v, bytes))
        assert KEY not in str(dict(row))
        # Who can write the table still cannot have the key sent elsewhere.
        await connection.execute("UPDATE providers SET base_url = 'https://evil.example' WHERE provider = 'mistral'")
        await connection.execute("UPDATE providers_version SET version = version + 1")
    await app.registry.refresh()
    (moved,) = [one for one in app.registry.providers() if one.entry.provider == "mistral"]
    assert not moved.enabled and "cannot be opened" in moved.disabled_reason


@pytest.mark.parametrize(
    ("name", "kind", "base_url", "reason"),
    [
        ("filed", "", "", Reason.MANAGED_BY_FILE),
        ("local", "openai", "https://example.com", Reason.INVALID_REQUEST),
        ("No Name", "openai", "https://example.com", Reason.INVALID_REQUEST),
        ("other", "", "https://example.com", Reason.INVALID_REQUEST),
        ("other", "openai", "", Reason.INVALID_REQUEST),
        ("other", "openai", "http://127.0.0.1:1/v1", Reason.INVALID_REQUEST),
        ("other", "openai", "https://169.254.169.254/v1", Reason.INVALID_REQUEST),
    ],
)
async def test_refused(replicas: list[ProviderApp], name: str, kind: str, base_url: str, reason: Reason) -> None:
    with pytest.raises(MeshError) as caught:
        await replicas[0].desk.add(name, kind, base_url, KEY, skip_test=True)
    assert caught.value.reason is reason
    with pytest.raises(MeshError) as caught:
        await replicas[0].desk.remove("filed" if name == "filed" else "nobody")
    assert caught.value.reason in (Reason.MANAGED_BY_FILE, Reason.NOT_FOUND)


async def test_every_hostile_address_is_refused_and_nothing_is_asked(replicas: list[ProviderApp]) -> None:
    async def asked(entry: ProviderEntry) -> Trial:
        raise AssertionError(f"{entry.base_url} was asked")

    desk = replicas[0].desk
    desk._test = asked
    urls = [*HOSTILE_URLS, *DECEIVING_URLS]
    assert len(urls) > 250
    for url in filter(None, urls):
        with pytest.raises(MeshError) as caught:
            await desk.add("other", "openai", url, KEY, skip_test=False)
        assert caught.value.metadata.get("field", "base_url") == "base_url", url
    assert "other" not in names(replicas[0])


async def test_only_the_operator_sets_addresses(replicas: list[ProviderApp], org_id: str) -> None:
    table = MethodTable()
    replicas[0].register(table)  # type: ignore[arg-type]
    keys = key_pb2_grpc.KeyServiceStub(LocalChannel(table))
    admin = principal_pb2.Principal(scopes=["admin", "chat"], org_id=org_id)
    request = key_pb2.AddProviderRequest(
        provider="other", kind="openai", base_url="https://llm.example.com", api_key=KEY
    )
    with calls.serving(calls.Call(principal=admin)), pytest.raises(MeshError) as caught:
        await keys.AddProvider(request)
    assert caught.value.reason is Reason.PERMISSION_DENIED
    assert not {"base_url", "kind"} & {field.name for field in key_pb2.CreateProviderKeyRequest.DESCRIPTOR.fields}
    assert not {"base_url", "kind"} & {field.name for field in key_pb2.UpdateProviderKeyRequest.DESCRIPTOR.fields}


async def test_a_kind_without_a_list_of_models_is_not_tested(replicas: list[ProviderApp]) -> None:
    with pytest.raises(MeshError, match="skip_test"):
        await replicas[0].desk.add("aws", "bedrock", "https://bedrock.example.com", KEY, skip_test=False)


async def test_the_test_call(upstream: Upstream) -> None:
    ollama = ProviderEntry("up", "ollama", upstream.origin, Secret("k"), allow_private_address=True)
    assert "qwen3:4b" in (await list_models(ollama)).upstream_models
    openai = ProviderEntry("up", "openai", upstream.base_url, Secret("k"), allow_private_address=True)
    assert "gpt-4o-mini" in (await list_models(openai)).upstream_models
    claude = ProviderEntry("up", "anthropic", upstream.origin, Secret("k"), allow_private_address=True)
    assert "claude-haiku-4-5" in (await list_models(claude)).upstream_models
    gemini = ProviderEntry("up", "gemini", upstream.origin + "/v1beta", Secret("k"), allow_private_address=True)
    assert "gemini-2.5-pro" in (await list_models(gemini)).upstream_models
    bad = ProviderEntry("up", "openai", upstream.base_url, Secret("bad"), allow_private_address=True)
    with pytest.raises(MeshError, match="its key was refused"):
        await list_models(bad)
    upstream.script("redirect", times=1)
    with pytest.raises(MeshError, match="it answered 302"):
        await list_models(openai)
    named = ProviderEntry("up", "openai", "https://rebind.example/v1", Secret("k"))

    async def rebound(host: str, port: int, family: int) -> list[Any]:
        return [{"hostname": host, "host": "127.0.0.1", "port": port, "family": 2, "proto": 0, "flags": 0}]

    with pytest.raises(MeshError, match="could not be reached"):
        await list_models(named, PublicResolver(rebound))


async def test_the_servicers_over_the_in_process_channel(upstream: Upstream) -> None:
    app = build(context_of(None, upstream, split=True))
    await app.start()
    table = MethodTable()
    app.register(table)  # type: ignore[arg-type]
    stub = provider_pb2_grpc.ProviderServiceStub(LocalChannel(table))
    keys = key_pb2_grpc.KeyServiceStub(LocalChannel(table))
    request = provider_pb2.GenerateRequest(
        input=b'{"model":"x","messages":[{"role":"user","content":"hi"}]}',
        candidates=[provider_pb2.GenerateCandidate(model="d/m", provider="filed", upstream_name="m")],
        stream=True,
        need_text=True,
    )
    async with reading(stub.Generate(request)) as stream:
        got = [event async for event in stream]
    assert got[0].attempt.provider == "filed" and got[-1].finish.text == WORDS
    assert got[-1].finish.attempts[0].ended_at.seconds > 0
    async with reading(stub.WatchProviders(provider_pb2.WatchProvidersRequest())) as stream:
        async for snapshot in stream:
            assert [one.provider for one in snapshot.providers] == ["filed"]
            assert KEY.encode() not in snapshot.SerializeToString()
            break
    with pytest.raises(MeshError) as caught:
        await keys.ListProviders(key_pb2.ListProvidersRequest())
    assert caught.value.reason is Reason.PRINCIPAL_REQUIRED
    admin = principal_pb2.Principal(scopes=["admin"])
    with calls.serving(calls.Call(principal=admin)):
        assert len((await keys.ListProviders(key_pb2.ListProvidersRequest())).providers) == 1
        with pytest.raises(MeshError) as caught:
            await keys.AddProvider(key_pb2.AddProviderRequest(provider="openai", api_key=KEY))
        assert caught.value.reason is Reason.PERMISSION_DENIED
    await app.close()


@pytest.mark.parametrize("channel", ["inprocess", "socket"])
async def test_the_largest_answer_travels_and_a_larger_one_is_named(
    upstream: Upstream, tmp_path: pathlib.Path, channel: str
) -> None:
    app = build(context_of(None, upstream, split=True))
    await app.start()
    table = MethodTable()
    app.register(table)  # type: ignore[arg-type]
    server = Server(table, LiveHealth())
    server.listen(f"unix:{tmp_path}/p.sock")
    await server.start()
    remote = RemoteChannel(f"unix:{tmp_path}/p.sock", "provider")
    stub = provider_pb2_grpc.ProviderServiceStub(remote if channel == "socket" else LocalChannel(table))

    async def ask(padding_bytes: int) -> list[provider_pb2.GenerateResponse]:
        name = f"fault:big_body,padding_bytes={padding_bytes}"
        request = provider_pb2.GenerateRequest(
            input=b'{"model":"x","messages":[{"role":"user","content":"hi"}]}',
            candidates=[provider_pb2.GenerateCandidate(model="d/m", provider="filed", upstream_name=name)],
            need_text=True,
        )
        async with reading(stub.Generate(request)) as stream:
            return [event async for event in stream]

    largest = ProviderConfig().max_answer_bytes
    good = await ask(largest - 4096)
    assert len(good[1].frames.data) > largest - 4096 and good[-1].finish.text == WORDS
    bad = await ask(largest)
    assert bad[-1].failure.message.endswith(f"it is larger than {largest} bytes.")
    await remote.close()
    await server.stop(0)
    await app.close()


async def test_a_provider_that_went_is_dropped_after_its_last_answer(upstream: Upstream) -> None:
    app = build(context_of(None, upstream))
    await app.start()
    line, kept = app.registry.find("filed"), app.registry._entries
    gone = line.endpoint
    app.registry._entries = ()
    await app.registry._apply([])
    (task,) = [task for task in asyncio.all_tasks() if task.get_name() == "retire-filed"]
    assert app.registry._retired == {line: task}, "a task that nobody holds may be collected"
    app.registry._entries = kept
    await app.close()
    assert task.done() and gone.pool.closed


@pytest.mark.parametrize("split", [False, True])
@pytest.mark.parametrize("channel", ["inprocess", "socket"])
async def test_leaving_the_call_stops_the_provider(
    upstream: Upstream, tmp_path: pathlib.Path, split: bool, channel: str
) -> None:
    app = build(context_of(None, upstream, split=split))
    await app.start()
    table = MethodTable()
    app.register(table)  # type: ignore[arg-type]
    server = Server(table, LiveHealth())
    server.listen(f"unix:{tmp_path}/p.sock")
    await server.start()
    remote = RemoteChannel(f"unix:{tmp_path}/p.sock", "provider")
    stub = provider_pb2_grpc.ProviderServiceStub(remote if channel == "socket" else LocalChannel(table))
    name = "fault:endless,token_delay_s=0.01"
    request = provider_pb2.GenerateRequest(
        input=b'{"model":"x","messages":[{"role":"user","content":"hi"}],"stream":true}',
        candidates=[provider_pb2.GenerateCandidate(model="d/m", provider="filed", upstream_name=name)],
        stream=True,
    )
    frames = 0
    async with reading(stub.Generate(request)) as stream:
        async for event in stream:
            frames += event.WhichOneof("event") == "frames"
            if frames == 3:
                break
        left = time.monotonic()
    await asyncio.wait_for(upstream.requests[-1].left.wait(), 1)
    at = upstream.requests[-1].disconnected_s
    assert at is not None and at - left < 0.1
    await remote.close()
    await server.stop(0)
    await app.close()
