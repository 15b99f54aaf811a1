"""Two made-up LiteLLM configurations, small and large, as DAC's: what comes over, and that nothing is lost unsaid."""

import datetime
import json
import pathlib
import re

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from mesh.app import SHIPPED_CONFIG, load_settings
from mesh.cli import application
from mesh.config import ConfigError, read_documents
from mesh.imports.litellm import Conversion, convert
from mesh.imports.litellm_keys import Budget, Key, Keys, budget_of, read_dump, window_of
from mesh.imports.litellm_models import cost, plain
from mesh.imports.litellm_providers import is_private
from mesh.imports.litellm_settings import SECTIONS
from mesh.imports.rate_limits import RateLimit

FOLDER = pathlib.Path(__file__).parent / "litellm"
SHIPPED = read_documents(SHIPPED_CONFIG)["models"]
IN_CLEAR = ("sk-ant-in-clear", "first-clear-value", "second-clear-value", "sk-master-in-clear", "lf-secret-in-clear")
NOW = datetime.datetime(2026, 11, 21, tzinfo=datetime.UTC)
HASH = "0123456789abcdef" * 4


def converted(name: str, **env: str) -> Conversion:
    return convert((FOLDER / f"{name}.yaml").read_text(), f"{name}.yaml", env, SHIPPED)


def model(made: Conversion, name: str) -> dict:
    return next(dict(one) for one in made.models if one["id"] == name)


def told(made: Conversion, place: str) -> str:
    return " | ".join(f"{one.kind}: {one.text}" for one in made.notes if one.place == place)


def said(text: str, **env: str) -> Conversion:
    return convert(text, "c.yaml", env, SHIPPED)


def test_a_small_configuration_comes_over_and_loads(tmp_path):
    made = converted("small")
    for name, text in made.files().items():
        (tmp_path / name).write_text(text)
    settings = load_settings(tmp_path, env={"OPENAI_API_KEY": "o", "ANTHROPIC_API_KEY": "a"})
    models = {one.model: one for one in settings.models if one.source == "config"}
    assert list(models) == ["gpt-4o", "sonnet", "house", "vectors"]
    assert models["gpt-4o"].aliases == ("gpt-4",) and models["gpt-4o"].fallbacks == ("sonnet", "house")
    house = models["house"]
    assert (house.name, house.context_tokens, house.max_output_tokens) == ("qwen3-32b", 32768, 4096)
    assert house.price.nano_usd_per_mtok == {"input": 150_000_000, "output": 600_000_000}
    assert models["vectors"].capabilities == ("embeddings",)
    providers = {one.provider: one for one in settings.providers}
    assert providers["openai"].api_key.reveal() == "o" and providers["hosted-vllm-gpu-1"].allow_private_address
    assert settings.services["gateway"].request_timeout_s == 120
    assert made.budget == Budget("WINDOW_MONTH", 250 * 10**9)


def test_facts_and_prices_come_from_dacs_catalog_where_the_file_says_none():
    shipped = {one["id"]: one for one in SHIPPED}
    made = model(converted("small"), "sonnet")
    assert {key: made[key] for key in ("context_tokens", "quality", "price")} == {
        key: shipped["anthropic/claude-sonnet-4-5"][key] for key in ("context_tokens", "quality", "price")
    }


def test_a_name_that_stands_several_times_becomes_deployments():
    made = converted("large")
    assert model(made, "gpt-4o")["deployments"] == [
        {"provider": "azure-contoso-eu", "name": "gpt4o-eu", "weight": 2.0, "priority": 1},
        {"provider": "azure-contoso-us", "name": "gpt4o-us", "weight": 4.0, "priority": 1},
        {"provider": "openai-own-limits", "name": "gpt-4o", "weight": 1.0, "priority": 2},
    ]
    assert [(one["provider"], one["weight"]) for one in model(made, "mini")["deployments"]] == [
        ("openai", 2),
        ("openai-2", 1),
    ]
    assert made.providers["azure-contoso-eu"]["base_url"] == "https://contoso-eu.openai.azure.com/openai/v1"
    assert made.providers["openai-own-limits"]["total_timeout_s"] == 45
    assert made.providers["openai-2"]["api_key"] == {"env": "OPENAI_SECOND_KEY"}
    assert "weights" in told(made, "model_list[0].litellm_params")


def test_a_large_configuration_loads_with_its_deployments(tmp_path):
    made = converted("large")
    for name, text in made.files().items():
        (tmp_path / name).write_text(text)
    settings = load_settings(tmp_path, env={})
    models = {one.model: one for one in settings.models if one.source == "config"}
    assert [(one.provider, one.weight, one.priority) for one in models["gpt-4o"].deployments] == [
        ("azure-contoso-eu", 2.0, 1),
        ("azure-contoso-us", 4.0, 1),
        ("openai-own-limits", 1.0, 2),
    ]
    assert models["gpt-4o"].aliases == ("smart",) and models["mini"].fallbacks == ("llama", "flash")
    assert models["llama"].price.free and models["clear-one"].price is None


def test_fallbacks_and_aliases_of_a_large_configuration():
    made = converted("large")
    assert model(made, "gpt-4o")["fallbacks"] == ["mini"]
    assert model(made, "mini")["fallbacks"] == ["llama", "flash"]  # The default ones, and those for long prompts.
    assert "fallbacks" not in model(made, "llama") and made.aliases == {"smart": "gpt-4o"}
    assert made.groups == {"public": ["gpt-4o", "mini"], "cheap": ["mini"]}
    for place, part in (
        ("router_settings.fallbacks[1].nobody", "do: left out"),
        ("router_settings.context_window_fallbacks[0].mini", "changed: added"),
        ("router_settings.content_policy_fallbacks[0].gpt-4o", "no equivalent: left out"),
        ("router_settings.model_group_alias.mini", "left out"),
        ("router_settings.model_group_alias.openai/gpt-4o", "left out"),
    ):
        assert part in told(made, place), place
    assert "added" not in told(made, "router_settings.content_policy_fallbacks[0].gpt-4o")


@pytest.mark.parametrize("name", ["small", "large"])
def test_no_secret_is_copied_and_every_key_in_clear_is_told(name):
    made = converted(name)
    text = json.dumps([made.files(), [one.text for one in made.notes]])
    assert not [secret for secret in IN_CLEAR if secret in text]
    clear = [line for line, text in enumerate((FOLDER / f"{name}.yaml").read_text().splitlines(), 1) if "clear" in text]
    noted = {one.line for one in made.notes}
    assert [line for line in clear if line not in noted and line > 2] == []
    variables = [one["api_key"]["env"] for one in made.providers.values() if "api_key" in one]
    if name == "large":
        assert {"OPENAI_MODELS_API_KEY", "OPENAI_MODELS_API_KEY_2"} <= set(variables)


@pytest.mark.parametrize("name", ["small", "large"])
def test_every_setting_is_carried_over_or_told_with_its_line(name):
    document = yaml.safe_load((FOLDER / f"{name}.yaml").read_text())
    lines = (FOLDER / f"{name}.yaml").read_text().splitlines()
    made = converted(name)
    carried = {"router_settings.fallbacks", "router_settings.model_group_alias", "litellm_settings.fallbacks"}
    carried |= {"litellm_settings.budget_duration", "router_settings.default_fallbacks"}
    for section in SECTIONS:
        for key in document.get(section, {}):
            place = f"{section}.{key}"
            assert place in carried or any(one.place.startswith(place) for one in made.notes), place
    for one in made.notes:
        last = re.split(r"[.\[]", one.place)[-1] if not one.place.endswith("]") else ""
        assert one.line > 0 and (not last or last.split("/")[0] in lines[one.line - 1]), one


@pytest.mark.parametrize(
    ("entry", "place", "part"),
    [
        ("{model_name: a, litellm_params: {model: bedrock/x}}", "model_list[0].litellm_params.model", "AWS"),
        ("{model_name: a, litellm_params: {model: unknown/x}}", "model_list[0].litellm_params.model", "left out"),
        ("{model_name: a, litellm_params: {model: azure/x}}", "model_list[0].litellm_params.model", "api_base"),
        ("{model_name: auto, litellm_params: {model: gpt-4o}}", "model_list[0].model_name", "not free"),
        (
            "{model_name: a, litellm_params: {model: openai/x, api_base: os.environ/NOT_SET}}",
            "model_list[0].litellm_params.api_base",
            "NOT_SET is not set",
        ),
        (
            "{model_name: a, litellm_params: {model: dall-e-3}, model_info: {mode: image_generation}}",
            "model_list[0].model_info.mode",
            "image_generation",
        ),
    ],
)
def test_what_cannot_come_over_is_left_out_and_told(entry, place, part):
    made = said(f"model_list: [{entry}]")
    assert not made.models and part in told(made, place)


def test_an_address_from_the_environment_is_read_now():
    entry = "{model_name: a, litellm_params: {model: openai/x, api_base: os.environ/MINE, api_key: os.environ/K}}"
    made = said(f"model_list: [{entry}]", MINE="https://models.example.com/v1")
    assert made.providers == {
        "openai-models": {"kind": "openai", "base_url": "https://models.example.com/v1", "api_key": {"env": "K"}}
    }
    assert "changed" in told(made, "model_list[0].litellm_params.api_base")


@pytest.mark.parametrize(
    "text", ["- a", "model_list: {a: 1}", "model_list: [{model_name: a}]", "a: [", "router_settings: 1"]
)
def test_what_is_no_configuration_is_refused_by_name(text):
    with pytest.raises(ConfigError):
        said(text)


@given(st.decimals(min_value=0, max_value=1, places=15))
def test_a_price_is_never_lower_than_it_was_and_loads(per_token):
    written = cost(per_token)
    assert written is not None and 0 <= written - per_token * 10**6 < 10**-9
    assert plain(written) == plain(cost(plain(written)) / 10**6)


def test_a_secret_in_an_address_is_not_copied():
    made = said(ENTRY.format('api_base: "https://me:hidden@models.example.com/v1?key=hidden#hidden", api_key: K'))
    assert [one["base_url"] for one in made.providers.values()] == ["https://models.example.com/v1"]
    assert not any("hidden" in text for text in [*made.files().values(), *(one.text for one in made.notes)])
    assert "not copied" in told(made, "model_list[0].litellm_params.api_base")


BOMB = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"a{level}: &a{level} [{', '.join([f'*a{level - 1}'] * 9)}]\n" for level in range(1, 9)
)
ENTRY = "model_list: [{{model_name: a, litellm_params: {{model: openai/x, {}}}}}]"


@pytest.mark.parametrize(
    "text",
    [
        BOMB,
        "a: &a [*a]",
        "a: " + "[" * 3000 + "]" * 3000,
        "a: !!python/object/apply:os.getcwd []",
        ENTRY.format("max_parallel_requests: .inf"),
        ENTRY.format('api_base: "http://[::1"'),
        "model_list: [{model_name: a, litellm_params: {model: openai/x}, model_info: [1]}]",
        "router_settings: {model_group_alias: {a: [1]}}",
    ],
)
def test_a_hostile_configuration_is_refused_by_name_and_at_once(text):
    with pytest.raises(ConfigError, match=r"c\.yaml"):
        said(text)


@pytest.mark.parametrize("value", ["x", "-1", "nan", "inf", None, [1], "1e30", "1e999999"])
def test_what_is_no_price_is_none(value):
    assert cost(value) is None


def test_private_addresses_are_known():
    for url in (
        "http://localhost:1",
        "http://10.1.2.3",
        "http://gpu-1:8000/v1",
        "http://m.default.svc",
        "http://[::1]",
    ):
        assert is_private(url), url
    assert not is_private("https://models.example.com/v1") and not is_private("https://8.8.8.8")


@pytest.mark.parametrize(
    ("duration", "window", "same"),
    [
        (None, "WINDOW_NONE", True),
        ("1d", "WINDOW_DAY", True),
        ("24h", "WINDOW_DAY", True),
        ("1m", "WINDOW_MINUTE", True),
        ("1h", "WINDOW_HOUR", True),
        ("2h", "WINDOW_DAY", False),
        ("30s", "WINDOW_MINUTE", False),
        ("7d", "WINDOW_WEEK", True),
        ("14d", "WINDOW_MONTH", False),
        ("30d", "WINDOW_MONTH", True),
        ("1mo", "WINDOW_MONTH", True),
        ("monthly", "WINDOW_MONTH", True),
        ("90d", "WINDOW_NONE", False),
        ("1y", "WINDOW_NONE", False),
        ("whenever", "WINDOW_NONE", False),
    ],
)
def test_a_duration_becomes_a_window_that_is_never_shorter(duration, window, same):
    assert window_of(duration) == (window, same)


def test_a_limit_that_never_resets_is_what_is_left_of_it():
    assert budget_of("10", None, "2.5") == (
        Budget("WINDOW_NONE", 7_500_000_000),
        "what was spent already (2.5 dollars) is taken off the limit",
    )
    assert budget_of("10", None, "12")[0] == Budget("WINDOW_NONE", 0)
    assert budget_of("10", "1d", "12")[0] == Budget("WINDOW_DAY", 10_000_000_000)
    assert budget_of("much", "1d")[0] is None


def row(**fields: object) -> dict:
    return {"token": HASH, "key_alias": "app", "key_name": "sk-...4kJ2", "models": [], **fields}


def read(*rows: dict) -> tuple[list[Key], str]:
    keys = Keys({"gpt-4o", "mini"}, {"public": ["gpt-4o", "mini"]}, NOW)
    found = keys.read(read_dump(json.dumps(rows), "dump"))
    return found, " | ".join(f"{one.place}: {one.kind}: {one.text}" for one in keys.notes)


def test_a_key_comes_over_with_its_models_end_and_budget():
    limits = {"max_budget": 12.5, "budget_duration": "30d", "expires": "2026-12-31T10:00:00"}
    (key,), notes = read(row(models=["public", "gpt-4o"], blocked=True, **limits))
    assert key == Key(HASH, "app", "sk-…4kJ2", ("gpt-4o", "mini"), "2026-12-31T10:00:00Z", True, key.budget)
    assert key.budget == Budget("WINDOW_MONTH", 12_500_000_000) and not notes


def test_a_key_comes_over_with_its_rate_limits():
    (key,), notes = read(row(rpm_limit=10, tpm_limit=1000, max_parallel_requests=0))
    assert key.rate_limit == RateLimit(10, 1000, 0) and not notes
    assert key.rate_limit.values()["concurrent_requests"] == "0"
    (free,), _ = read(row())
    assert not free.rate_limit


def test_deployments_of_a_name_are_limited_together():
    limits = said(
        """model_list:
  - {model_name: two, litellm_params: {model: openai/a, api_key: x, rpm: 100, tpm: 5000}}
  - {model_name: two, litellm_params: {model: openai/b, api_key: x, rpm: 300}, model_info: {tpm: 7000}}
  - {model_name: half, litellm_params: {model: openai/a, api_key: x, rpm: 100}}
  - {model_name: half, litellm_params: {model: openai/b, api_key: x}}
  - {model_name: free, litellm_params: {model: openai/c, api_key: x}}
"""
    )
    assert limits.limits == {"two": RateLimit(400, 12_000)}
    assert "400 requests a minute, 12000 tokens a minute together" in told(limits, "model_list[0].litellm_params")
    assert "no limit" in told(limits, "model_list[2].litellm_params")


def test_what_a_key_loses_is_told():
    (key,), notes = read(row(soft_budget=10, team_id="t1", models=["elsewhere"], expires="2020-01-01"))
    for part in ("soft_budget is not carried over", "its team (t1)", '"elsewhere"', "it has expired"):
        assert part in notes
    assert key.models == ("elsewhere",)


@pytest.mark.parametrize(
    ("fields", "part"),
    [
        ({"token": "zz"}, "no SHA-256"),
        ({"models": ["all-team-models"]}, "all-team-models"),
        ({"models": ["no-default-models"]}, "no-default-models"),
        ({"models": ["bad name"]}, "none of its models"),
        ({"models": "openai/*"}, "no list"),
        ({"models": 5}, "no list"),
        ({"max_budget": "lots"}, "max_budget"),
        ({"rpm_limit": "many"}, "rpm_limit"),
        ({"max_parallel_requests": -1}, "max_parallel_requests"),
        ({"expires": "soon"}, "no time"),
        ({"expires": "0001-01-01T00:00:00+14:00"}, "no time"),
        ({"max_budget": "1e999999"}, "max_budget"),
    ],
)
def test_a_key_that_would_come_over_with_more_rights_is_left_out(fields, part):
    found, notes = read(row(**fields))
    assert not found and "left out" in notes and part in notes


def test_a_whole_key_in_the_dump_is_hashed_and_told_and_doubles_and_page_keys_are_left_out():
    found, notes = read(row(token="sk-abc"), row(token="sk-abc"), row(team_id="litellm-dashboard"))
    assert len(found) == 1 and re.fullmatch("[0-9a-f]{64}", found[0].sha256) and "sk-abc" not in repr(found) + notes
    assert "delete the dump" in notes and "stands above" in notes
    assert read(row(models=["all-proxy-models"]))[0][0].models == ()


@pytest.mark.parametrize("text", ["[{}]", "7", "[1]", "{", '{"keys": 3}', "[" * 5000])
def test_what_is_no_dump_is_refused(text):
    with pytest.raises(ConfigError):
        read_dump(text, "dump")


def test_a_dump_is_a_list_an_object_with_keys_or_a_row_a_line():
    one = json.dumps(row())
    for text in (f"[{one},{one}]", f'{{"keys": [{one}, {one}]}}', f"{one}\n{one}\n"):
        assert len(read_dump(text, "dump")) == 2


def test_files_that_are_there_are_never_overwritten_unasked(tmp_path):
    output = tmp_path / "out"
    command = ["import", "litellm", str(FOLDER / "small.yaml"), "--output", str(output)]
    first = CliRunner().invoke(application(), command)
    assert first.exit_code == 0 and "model_list[1].litellm_params.api_key" in first.output
    assert sorted(one.name for one in output.iterdir()) == [
        "dac.yaml",
        "import-notes.txt",
        "models.yaml",
        "providers.yaml",
    ]
    (output / "models.yaml").write_text("mine")
    again = CliRunner().invoke(application(), command)
    assert again.exit_code == 2 and "--force" in again.output and (output / "models.yaml").read_text() == "mine"
    forced = CliRunner().invoke(application(), [*command, "--force", "--json"])
    shown = json.loads(forced.stdout)
    assert shown["models"] == ["gpt-4o", "sonnet", "house", "vectors"] and not shown["applied"]
    assert (output / "models.yaml").read_text() != "mine"


def test_models_that_hear_or_speak_come_over_with_their_own_prices():
    made = said(
        """model_list:
  - {model_name: hears, litellm_params: {model: openai/whisper-1, input_cost_per_second: 0.0001},
     model_info: {mode: audio_transcription, output_cost_per_second: 0.0001}}
  - {model_name: speaks, litellm_params: {model: openai/tts-9},
     model_info: {mode: audio_speech, input_cost_per_character: 0.000015}}
  - {model_name: old, litellm_params: {model: openai/gpt-4o, input_cost_per_character: 0.1}}
"""
    )
    models = {one["id"]: one for one in made.models}
    assert models["hears"]["capabilities"] == ["transcription"] and models["speaks"]["capabilities"] == ["speech"]
    assert models["hears"]["price"] == {"audio_usd_per_hour": "0.36"}
    assert models["speaks"]["price"] == {"input_usd_per_mchar": "15"}
    assert "input_usd_per_mtok" in models["old"]["price"]
