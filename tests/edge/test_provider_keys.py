"""Organisations with provider keys of their own, through a whole DAC; and another master key under a running one."""

import json
import pathlib
import secrets
import signal
import subprocess
import sys
import time

import httpx
import pytest

from tests import programs
from tests.edge.conftest import make_dac

PROVIDER = """providers:
  needy: {{kind: openai, base_url: "{base}", require_key: true, allow_private_address: true}}"""
MODEL = """  - {id: needy/own, provider: needy, name: gpt-4o-mini, context_tokens: 128000, quality: 0.99,
     price: {input_usd_per_mtok: "0.15", output_usd_per_mtok: "0.60"}}"""
CANARY = "sk-canary-7f3e-"
pytestmark = pytest.mark.timeout(180)


def make(folder, upstream):
    running = make_dac(folder, upstream, more=MODEL)
    running.env["DAC_MEMORY_ENCRYPT_TEXT"] = "true"
    shared = running.config.read_text()
    running.config.write_text(shared.replace("providers:", PROVIDER.format(base=upstream.base_url), 1))
    running.start()
    return running


@pytest.fixture(scope="module")
def dac(tmp_path_factory, upstream_process):
    running = make(tmp_path_factory.mktemp("dac"), upstream_process)
    yield running
    assert running.stop() == 0, running.log()


class Organisation:
    """An organisation with an administrator's key."""

    def __init__(self, dac, upstream):
        self.dac, self.upstream = dac, upstream
        body = {"name": f"org-{time.time_ns()}"}
        made = httpx.post(f"{dac.url}/v1/organisations", headers=dac.operator_headers, json=body).json()
        self.org_id = made["organisation"]["org_id"]
        body = {"name": "admin", "scopes": ["chat", "admin", "read"], "org_id": self.org_id}
        self.token = httpx.post(f"{dac.url}/v1/keys", headers=dac.operator_headers, json=body).json()["token"]
        self.headers = {"authorization": f"Bearer {self.token}"}
        self.path = f"/api/orgs/{self.org_id}/provider-keys"

    def call(self, method, path=None, expect=200, more=None, **body):
        url = self.dac.url + (path or self.path)
        headers = {**self.headers, **(more or {})}
        answer = httpx.request(method, url, headers=headers, json=body or None, timeout=30)
        assert answer.status_code == expect, answer.text
        assert CANARY not in answer.text
        return answer.json()

    def add(self, secret, **fields):
        return self.call("POST", **{"provider": "mock", "api_key": secret, **fields})["key"]

    def chat(self, model="mock/gpt-4o-mini", expect=200):
        body = {"model": model, "messages": [{"role": "user", "content": "Say hello."}]}
        answer = httpx.post(f"{self.dac.url}/v1/chat/completions", headers=self.headers, json=body, timeout=30)
        assert answer.status_code == expect, answer.text
        assert CANARY not in answer.text + str(answer.headers)
        return answer

    def record(self, answer):
        request_id, end = answer.headers["x-dac-request-id"], time.monotonic() + 5
        while True:
            found = httpx.get(f"{self.dac.url}/v1/requests/{request_id}", headers=self.headers)
            if found.status_code == 200 or time.monotonic() > end:
                assert found.status_code == 200 and CANARY not in found.text
                return found.json()["request"]
            time.sleep(0.02)

    def sent(self):
        """The keys that the upstream saw since the last time."""
        seen = [one["headers"]["authorization"].removeprefix("Bearer ") for one in self.upstream.requests()]
        self.upstream.clear()
        return seen


@pytest.fixture
def make_organisation(dac, upstream_process):
    upstream_process.clear()
    return lambda: Organisation(dac, upstream_process)


def cli(dac, *arguments, key="", check=True, stdin=""):
    """`dac …` as its user runs it; without a key as the operator."""
    env = {**dac.env, "DAC_BASE_URL": dac.url, **({"DAC_API_KEY": key} if key else {})}
    done = programs.run([*arguments], env, stdin=stdin)
    assert done.returncode == 0 or not check, done.stderr
    assert CANARY not in done.stdout + done.stderr
    return done


def test_each_organisation_is_served_with_its_own_key(make_organisation):
    first, second, third = (make_organisation() for _ in range(3))
    one, two = first.add(CANARY + "first-1111"), second.add(CANARY + "second-2222")
    for organisation, key_id, secret in (
        (first, one["key_id"], CANARY + "first-1111"),
        (second, two["key_id"], CANARY + "second-2222"),
        (third, "", organisation_free(third)),
    ):
        record = organisation.record(organisation.chat())
        assert record["attempts"][0]["provider_key_id"] == key_id
        assert organisation.sent() == [secret]
    assert [key["key_id"] for key in first.call("GET")["keys"]] == [one["key_id"]]


def organisation_free(organisation):
    return organisation.dac.env["MOCK_API_KEY"]


def test_another_organisations_path_is_closed(make_organisation):
    mine, other = make_organisation(), make_organisation()
    key = mine.add(CANARY + "0000")
    path = f"{mine.path}/{key['key_id']}"
    for method, where in (("GET", mine.path), ("POST", mine.path), ("PUT", path), ("DELETE", path)):
        refused = other.call(method, where, expect=403, **({} if method in ("GET", "DELETE") else {"provider": "mock"}))
        assert refused["error"]["code"] == "permission_denied"
    other.call("DELETE", f"{other.path}/{key['key_id']}", expect=404)
    mine.call("GET", more={"x-org-id": mine.org_id})
    mine.call("GET", more={"x-org-id": mine.org_id.upper()})
    refused = mine.call("GET", more={"x-org-id": other.org_id}, expect=400)
    assert "x-org-id" in refused["error"]["message"]
    for path in ("/v1/providers/mock/keys", "/v1/provider-keys:rotate", "/v1/keys:rotate-master"):
        mine.call("POST", path, expect=403, **({"api_key": "k"} if path.endswith("/keys") else {"check_only": True}))


def test_a_refused_key_is_left_and_the_rest_goes_on(make_organisation):
    organisation, other = make_organisation(), make_organisation()
    bad = organisation.add(CANARY + "bad-0000", weight=1000)
    good = organisation.add(CANARY + "good-0000")
    for _ in range(4):
        record = organisation.record(organisation.chat())
        assert record["attempts"][-1]["provider_key_id"] == good["key_id"]
    seen = organisation.sent()
    assert seen.count(CANARY + "bad-0000") == 1 and len(seen) == 5
    shown = {key["key_id"]: key["unusable_because"] for key in organisation.call("GET")["keys"]}
    assert "refused it (401)" in shown[bad["key_id"]] and not shown[good["key_id"]]
    organisation.call("DELETE", f"{organisation.path}/{good['key_id']}")
    for _ in range(6):
        failure = organisation.chat(expect=503)
    assert failure.json()["error"]["code"] == "provider_busy" and int(failure.headers["retry-after"]) > 100
    assert organisation.sent() == []
    # Nobody else notices: neither breaker nor fail-fast have heard of it.
    assert len(other.record(other.chat())["attempts"]) == 1
    assert other.sent() == [other.dac.env["MOCK_API_KEY"]]
    organisation.call("PUT", f"{organisation.path}/{bad['key_id']}", api_key=CANARY + "mended-0000")
    organisation.chat()
    assert organisation.sent() == [CANARY + "mended-0000"]


def test_bad_keys_of_many_organisations_open_no_breaker(make_organisation):
    for _ in range(5):
        organisation = make_organisation()
        organisation.add(CANARY + "bad-0000")
        assert organisation.chat(expect=502).json()["error"]["code"] == "provider_failed"
    other = make_organisation()
    time.sleep(0.2)  # What the gateway would tell the router comes after the answer.
    for _ in range(3):
        assert "circuit breaker" not in other.record(other.chat())["route"]["reason"]


def test_a_model_that_only_own_keys_open(make_organisation):
    mine, other = make_organisation(), make_organisation()
    assert other.chat("needy/own", expect=503).json()["error"]["code"] == "no_model_available"
    mine.add(CANARY + "needy-0000", provider="needy")
    end = time.monotonic() + 5
    while "needy/own" not in [one["id"] for one in mine.call("GET", "/v1/models")["data"]]:
        assert time.monotonic() < end
        time.sleep(0.02)
    assert "needy/own" not in [one["id"] for one in other.call("GET", "/v1/models")["data"]]
    assert mine.record(mine.chat("auto"))["attempts"][0]["model"] == "needy/own"
    assert mine.sent() == [CANARY + "needy-0000"]
    assert other.record(other.chat("auto"))["attempts"][0]["model"] != "needy/own"
    other.chat("needy/own", expect=503)
    for organisation in (mine, other):
        (shown,) = [one for one in organisation.call("GET", "/v1/providers")["providers"] if one["provider"] == "needy"]
        assert not shown["enabled"] and shown["org_ids"] == []


@pytest.mark.parametrize(
    ("path", "model", "part"),
    [
        ("/v1/chat/completions", "mock/gpt-4o-mini", {"type": "file", "file": {"file_id": "file-1"}}),
        ("/v1/messages", "claude/sonnet", {"type": "document", "source": {"type": "file", "file_id": "file-1"}}),
    ],
)
def test_only_an_account_of_ones_own_may_be_asked_for_what_it_stores(make_organisation, path, model, part):
    mine, other = make_organisation(), make_organisation()
    mine.add(CANARY + "stored-0000", provider=model.partition("/")[0])
    body = {"model": model, "max_tokens": 9, "messages": [{"role": "user", "content": [part]}]}
    refused = other.call("POST", path, expect=400, **body)
    assert refused["error"]["message"].startswith("messages[0].content[0].")
    assert mine.upstream.requests() == []
    mine.call("POST", path, **body)
    assert len(mine.upstream.requests()) == 1


def test_models_are_listed_with_one_of_everybodys_keys(make_organisation):
    organisation = make_organisation()
    dac = organisation.dac
    added = cli(dac, "provider", "key", "add", "needy", "--everybody", "--json", stdin=CANARY + "list-0000").stdout
    body, end = {"providers": ["needy"]}, time.monotonic() + 5
    while True:
        answer = httpx.post(f"{dac.url}/v1/models/refresh", headers=dac.operator_headers, json=body, timeout=30)
        if answer.status_code == 200 or time.monotonic() > end:
            break
        time.sleep(0.02)
    assert answer.json()["providers"][0]["found"] == 3, answer.text
    assert set(organisation.sent()) == {CANARY + "list-0000"}
    cli(dac, "provider", "key", "remove", "needy", json.loads(added)["key"]["key_id"], "--everybody", "--yes")


def test_changes_are_on_the_record_and_secrets_nowhere(make_organisation):
    organisation = make_organisation()
    key = organisation.add(CANARY + "audited-0000")
    organisation.call("PUT", f"{organisation.path}/{key['key_id']}", is_active=False)
    organisation.call("DELETE", f"{organisation.path}/{key['key_id']}")
    end = time.monotonic() + 5
    while True:
        changes = organisation.call("GET", "/v1/changes")["changes"]
        actions = [one["action"] for one in changes if one["target"] == f"provider_key:{key['key_id']}"]
        if len(actions) == 3 or time.monotonic() > end:
            break
        time.sleep(0.05)
    assert sorted(actions) == ["provider_key.create", "provider_key.delete", "provider_key.update"]
    log = (organisation.dac.data_dir.parent / "dac.log").read_text()
    assert CANARY not in log
    assert CANARY not in httpx.get(f"{organisation.dac.url}/metrics").text


def test_the_program(make_organisation, tmp_path):
    organisation = make_organisation()
    dac, key = organisation.dac, organisation.token
    secret = tmp_path / "key"
    secret.write_text(CANARY + "file-abcd\n")
    made = json.loads(cli(dac, "provider", "key", "add", "mock", "--key-file", str(secret), "--json", key=key).stdout)
    key_id = made["key"]["key_id"]
    cli(dac, "provider", "key", "add", "mock", "--weight", "3", key=key, stdin=CANARY + "pipe-efgh")
    table = cli(dac, "provider", "key", "list", key=key).stdout
    assert "…abcd" in table and "…efgh" in table
    cli(dac, "provider", "key", "set", "mock", key_id, "--off", key=key)
    organisation.chat()
    assert organisation.sent() == [CANARY + "pipe-efgh"]
    assert (
        "needs a key with scope"
        in cli(dac, "provider", "key", "add", "mock", "--everybody", key=key, stdin=CANARY, check=False).stderr
    )
    cli(dac, "provider", "key", "remove", "mock", key_id, "--yes", key=key)
    listed = json.loads(cli(dac, "provider", "key", "list", "mock", "--json", key=key).stdout)["keys"]
    assert [one["key_hint"] for one in listed] == ["efgh"]
    # The operator's, for everybody.
    everybody = json.loads(
        cli(dac, "provider", "key", "add", "second", "--everybody", "--json", stdin=CANARY + "all-ijkl").stdout
    )
    shown = json.loads(cli(dac, "provider", "key", "list", "second", "--everybody", "--json").stdout)["keys"]
    assert [one["key_id"] for one in shown] == [everybody["key"]["key_id"]] and shown[0]["org_id"] == ""
    cli(dac, "provider", "key", "remove", "second", shown[0]["key_id"], "--everybody", "--yes")


def rotated(dac, *arguments):
    done = cli(dac, "provider", "rotate-master", "--json", *arguments, check=False)
    return done.returncode, json.loads(done.stdout) if done.stdout else {}


def test_another_master_key_under_a_running_dac(tmp_path, upstream_process):
    dac = make(tmp_path, upstream_process)
    organisation = Organisation(dac, upstream_process)
    for number in range(12):
        organisation.add(f"{CANARY}rotated-{number:04d}")
    sealed = {
        "model": "mock/gpt-4o-mini",
        "thread_id": "sealed",
        "messages": [{"role": "user", "content": "Say hello."}],
    }
    httpx.post(
        f"{dac.url}/v1/chat/completions", headers=organisation.headers, json=sealed, timeout=30
    ).raise_for_status()
    body = {"provider": "mine", "kind": "openai", "base_url": "https://llm.example.com/v1", "skip_test": True}
    stored = httpx.post(
        f"{dac.url}/v1/providers", json={**body, "api_key": CANARY + "mine"}, headers=dac.operator_headers
    )
    assert stored.status_code == 200
    assert rotated(dac, "--check") == (0, rotated(dac)[1])
    assert dac.stop() == 0
    old, new = dac.data_dir / "secrets" / "master.key", tmp_path / "new.key"
    new.write_text(secrets.token_hex(32))
    dac.env["DAC_MASTER_KEY_FILE"] = str(new)
    with pytest.raises(AssertionError, match="another master key"):
        dac.start()
    dac.process = None
    dac.env["DAC_MASTER_KEY_OLD_FILE"] = str(old)
    dac.start()
    works(organisation)
    left = rotated(dac, "--check")[1]
    assert left["left"] == 13 and left["data_keys"]["left"] == 2, left
    kill_in_the_middle(dac)
    dac.start()
    code, state = rotated(dac, "--check")
    assert code == 1 and 0 < state["left"] <= 10 and not state["api_keys_bound"] and not state["done"]
    works(organisation)
    code, state = rotated(dac)
    assert (code, state["left"], state["lost"], state["done"]) == (0, 0, 0, True)
    assert state["data_keys"] == {"rotated": 2, "left": 0, "lost": 0}
    assert rotated(dac) == (0, {**state, "rotated": 0, "data_keys": {"rotated": 0, "left": 0, "lost": 0}})
    end = time.monotonic() + 5
    while "master_key.rotate" not in [one["action"] for one in dac.get("/v1/changes").json()["changes"]]:
        assert time.monotonic() < end
        time.sleep(0.05)
    works(organisation)
    assert dac.stop() == 0
    # The former key is not needed any more, and of no use alone.
    del dac.env["DAC_MASTER_KEY_OLD_FILE"]
    dac.start()
    works(organisation)
    shown = httpx.get(f"{dac.url}/v1/providers", headers=dac.operator_headers).json()["providers"]
    assert [one["enabled"] for one in shown if one["provider"] == "mine"] == [True]
    assert httpx.get(f"{dac.url}/v1/caller", headers=dac.headers).status_code == 200
    assert dac.stop() == 0
    dac.env["DAC_MASTER_KEY_FILE"] = str(old)
    with pytest.raises(AssertionError, match="another master key"):
        dac.start()
    dac.process = None
    assert CANARY not in (pathlib.Path(tmp_path) / "dac.log").read_text()


def works(organisation):
    """Its API key, its provider keys, and the data keys of its memory."""
    held = httpx.get(f"{organisation.dac.url}/api/threads/sealed/messages", headers=organisation.headers).json()
    assert [one["text"] for one in held["messages"] if one["role"] == "user"] == ["Say hello."]
    organisation.upstream.clear()
    organisation.chat()
    (seen,) = organisation.sent()
    assert seen.startswith(CANARY + "rotated-")
    assert not any(key["unusable_because"] for key in organisation.call("GET")["keys"])


def kill_in_the_middle(dac):
    """Ends DAC as hard as it goes while the rotation runs."""
    env = {**dac.env, "DAC_BASE_URL": dac.url}
    command = [sys.executable, "-m", "mesh", "provider", "rotate-master", "--batch", "1"]
    running = subprocess.Popen(command, env=env, stderr=subprocess.PIPE, text=True)
    assert running.stderr is not None
    while not running.stderr.readline().startswith("3 provider keys"):
        assert running.poll() is None
    dac.process.send_signal(signal.SIGKILL)
    dac.process.wait(10)
    dac.process = None
    assert running.wait(30) != 0
    running.stderr.close()
