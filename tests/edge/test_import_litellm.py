"""A LiteLLM configuration and its keys moved to a running DAC: old clients go on with old names and old keys."""

import hashlib
import json
import os
import secrets

import httpx
import openai
import pytest

from tests import programs
from tests.edge.conftest import make_dac

CONFIG = """
model_list:
  - model_name: gpt-4o
    litellm_params: {{model: openai/gpt-4o-mini, api_base: "{base}", api_key: os.environ/MOCK_API_KEY,
      input_cost_per_token: 0.00000015, output_cost_per_token: 0.0000006}}
  - model_name: twice
    litellm_params: {{model: openai/gpt-4o-mini, api_base: "http://127.0.0.1:9/v1", api_key: os.environ/MOCK_API_KEY,
      rpm: 100, input_cost_per_token: 0.00000015, output_cost_per_token: 0.0000006}}
  - model_name: twice
    litellm_params: {{model: openai/gpt-4o-mini, api_base: "{base}", api_key: os.environ/MOCK_API_KEY,
      rpm: 300, input_cost_per_token: 0.00000015, output_cost_per_token: 0.0000006}}
  - model_name: broken
    litellm_params: {{model: openai/any, api_base: "http://127.0.0.1:9/v1", api_key: os.environ/MOCK_API_KEY,
      input_cost_per_token: 0.00000015, output_cost_per_token: 0.0000006}}
  - model_name: vectors
    litellm_params: {{model: openai/embed, api_base: "{base}", api_key: os.environ/MOCK_API_KEY,
      input_cost_per_token: 0.00000002, output_cost_per_token: 0}}
    model_info: {{mode: embedding}}
router_settings:
  fallbacks: [{{broken: [gpt-4o]}}]
  model_group_alias: {{gpt-4: gpt-4o}}
litellm_settings: {{max_budget: 50, budget_duration: 30d}}
"""


def old_key() -> str:
    return f"sk-{secrets.token_urlsafe(16)}"


KEYS = {name: old_key() for name in ("free", "narrow", "spent", "blocked", "expired", "limited", "gone")}


def dump() -> str:
    fields = {
        "narrow": {"models": ["gpt-4"]},
        "spent": {"max_budget": 5, "spend": 5.01},
        "blocked": {"blocked": True},
        "expired": {"expires": "2025-01-01T00:00:00"},
        "limited": {"max_budget": 2.5, "budget_duration": "1d", "rpm_limit": 1000},
    }
    rows = [
        {"token": hashlib.sha256(key.encode()).hexdigest(), "key_alias": name, "models": [], **fields.get(name, {})}
        for name, key in KEYS.items()
    ]
    return json.dumps(rows)


@pytest.fixture(scope="module")
def moved(tmp_path_factory, upstream_process):
    """A DAC that was started on the converted configuration, and the command that converts."""
    folder = tmp_path_factory.mktemp("litellm")
    dac = make_dac(folder, upstream_process)
    (folder / "config.yaml").write_text(CONFIG.format(base=upstream_process.base_url))
    (folder / "keys.json").write_text(dump())
    output = folder / "converted"
    command = ["import", "litellm", str(folder / "config.yaml")]
    command += ["--keys", str(folder / "keys.json"), "--output", str(output), "--json"]
    env = {name: value for name, value in os.environ.items() if not name.startswith("DAC_")}
    env |= {"DAC_BASE_URL": dac.url, "DAC_DATA_DIR": str(dac.data_dir)}

    def convert(*more: str) -> dict:
        done = programs.run([*command, *more], env)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    first = convert()
    assert not first["applied"] and first["keys"] == {"found": len(KEYS)}
    # No embedded model in tests.
    with (output / "providers.yaml").open("a") as file:
        file.write("  local: {enabled: false}\n")
    dac.config = output
    dac.start()
    yield dac, convert
    assert dac.stop() == 0, dac.log()


@pytest.fixture(scope="module")
def applied(moved):
    dac, convert = moved
    client = openai.OpenAI(base_url=f"{dac.url}/v1", api_key=KEYS["free"], max_retries=0)
    with pytest.raises(openai.AuthenticationError):
        client.models.list()
    done = convert("--apply")
    assert done["files"] == [] and done["keys"] == {"found": 7, "added": 7, "there": 0, "budgets": 3, "rate_limits": 2}
    return dac


def client_of(dac, name):
    return openai.OpenAI(base_url=f"{dac.url}/v1", api_key=KEYS[name], max_retries=0)


def ask(client, model="gpt-4o", **fields):
    return client.chat.completions.create(model=model, messages=[{"role": "user", "content": "Hello"}], **fields)


@pytest.mark.parametrize("model", ["gpt-4o", "gpt-4", "twice", "broken"])
def test_an_old_client_goes_on_with_its_key_and_the_old_names(applied, model):
    client = client_of(applied, "limited")
    assert ask(client, model).choices[0].message.content
    assert "".join(part.choices[0].delta.content or "" for part in ask(client, model, stream=True) if part.choices)


def test_embeddings_answer_by_the_old_name(applied):
    assert client_of(applied, "limited").embeddings.create(model="vectors", input="Hello").data[0].embedding


def test_anthropics_header_takes_the_old_key(applied):
    body = {"model": "gpt-4o", "max_tokens": 20, "messages": [{"role": "user", "content": "Hello"}]}
    answer = httpx.post(f"{applied.url}/v1/messages", json=body, headers={"x-api-key": KEYS["limited"]}, timeout=30)
    assert answer.status_code == 200 and answer.json()["content"]


@pytest.mark.parametrize(("name", "word"), [("blocked", "revoked"), ("expired", "expired")])
def test_a_blocked_and_an_expired_key_are_refused_by_name(applied, name, word):
    with pytest.raises(openai.AuthenticationError, match=word):
        ask(client_of(applied, name))


def test_a_revoked_key_is_refused(applied):
    assert ask(client_of(applied, "gone")).choices
    keys = httpx.get(f"{applied.url}/v1/keys", headers=applied.operator_headers).json()["keys"]
    (key_id,) = [one["key_id"] for one in keys if one["name"] == "gone"]
    httpx.delete(f"{applied.url}/v1/keys/{key_id}", headers=applied.operator_headers).raise_for_status()
    with pytest.raises(openai.AuthenticationError, match="revoked"):
        ask(client_of(applied, "gone"))


def test_a_key_keeps_its_models(applied):
    client = client_of(applied, "narrow")
    assert ask(client, "gpt-4").choices
    with pytest.raises(openai.PermissionDeniedError):
        ask(client, "broken")


def test_a_key_keeps_its_budget(applied):
    with pytest.raises(openai.APIStatusError) as caught:
        ask(client_of(applied, "spent"))
    assert caught.value.status_code in (402, 429) and "udget" in str(caught.value)
    budgets = httpx.get(f"{applied.url}/v1/budgets", headers=applied.operator_headers).json()["budgets"]
    limits = {(one["level"]["kind"], one["window"], one.get("limit_nano_usd", "0")) for one in budgets}
    assert limits == {
        ("KIND_ORG", "WINDOW_MONTH", "50000000000"),
        ("KIND_KEY", "WINDOW_DAY", "2500000000"),
        ("KIND_KEY", "WINDOW_NONE", "0"),
    }


def test_rate_limits_come_over_and_hold(applied):
    found = httpx.get(f"{applied.url}/v1/rate-limits", headers=applied.operator_headers).json()["rate_limits"]
    told = {(one["level"]["kind"], one.get("model", ""), one["requests_per_minute"]) for one in found}
    assert told == {("KIND_ORG", "twice", "400"), ("KIND_KEY", "", "1000")}
    create = client_of(applied, "limited").chat.completions.with_raw_response.create
    raw = create(model="gpt-4o", messages=[{"role": "user", "content": "Hello"}])
    assert raw.headers["x-ratelimit-limit-requests"] == "1000"


def test_a_second_import_changes_nothing(applied, moved):
    assert moved[1]("--apply")["keys"] == {"found": 7, "added": 0, "there": 7, "budgets": 0, "rate_limits": 0}


def test_another_key_of_the_same_form_is_refused(applied):
    for key in (old_key(), "sk-1234", KEYS["free"][:-1], KEYS["free"] + "x"):
        answer = httpx.get(f"{applied.url}/v1/caller", headers={"authorization": f"Bearer {key}"})
        assert answer.status_code == 401 and key not in answer.text


def test_who_is_no_operator_imports_nothing(applied):
    body = {"source": "litellm", "keys": [{"sha256": "ab" * 32, "name": "mine"}]}
    for key in (applied.key, KEYS["limited"]):
        answer = httpx.post(f"{applied.url}/v1/keys:import", json=body, headers={"authorization": f"Bearer {key}"})
        assert answer.status_code == 403, answer.text
