"""What operators write about providers and models: exact prices, and mistakes named with their place and their mend."""

from __future__ import annotations

import datetime as dt
import re
from decimal import Decimal

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from mesh.app import SHIPPED_CONFIG
from mesh.catalog import LOCAL, parse_catalog, parse_model, parse_provider
from mesh.config import ConfigError, Secret, read_documents
from mesh.known_providers import KNOWN
from mesh.model_prices import PRICE_KEYS, PriceEntry, bucket_name, nano_usd, parse_price, split_bucket

MODEL = {"id": "openai/gpt-4o-mini", "provider": "openai", "context_tokens": 128_000}


def model(**more):
    return parse_model({**MODEL, **more}, "models[3]", "config")


@given(st.integers(0, 10**18))
def test_every_amount_of_whole_nano_dollars_is_exact(nano):
    assert nano_usd(str(Decimal(nano).scaleb(-9)), "price") == nano


@pytest.mark.parametrize(
    ("written", "nano"),
    [("0.15", 150_000_000), (0.15, 150_000_000), (0.1, 100_000_000), (3, 3_000_000_000), ("1e-9", 1), (0, 0)],
)
def test_amounts_as_people_write_them(written, nano):
    assert nano_usd(written, "price") == nano
    assert nano_usd(yaml.safe_load(f"a: {written}")["a"], "price") == nano


@pytest.mark.parametrize(
    "written",
    [
        *("-0.1", "0.0000000001", "$5", "", "1,5", None, True, [1], "-inf"),
        *(one for one in ("nan", "inf", float("nan"), float("inf"))),
    ],
)
def test_an_amount_that_is_none_is_refused_with_its_place(written):
    with pytest.raises(ConfigError, match=r"models\[3\]\.price\.input"):
        nano_usd(written, "models[3].price.input")


def test_prices_say_free_known_or_unknown():
    assert parse_price("free", "p") == PriceEntry(True, {})
    assert parse_price(None, "p") is None
    buckets = {"input_usd_per_mtok": "0.15", "output_usd_per_mtok": 0.6, "input_cached_usd_per_mtok": "0.075"}
    assert parse_price(buckets, "p") == PriceEntry(
        False, {"input": 150_000_000, "output": 600_000_000, "input_cached": 75_000_000}
    )
    assert parse_price({"request_usd": "0.005"}, "p").nano_usd_per_mtok == {"request": 5_000_000}
    # whisper-1 at $0.006 a minute; a price that is not whole by the second is rounded up.
    assert parse_price({"audio_usd_per_hour": "0.36"}, "p").nano_usd_per_mtok == {"audio_second": 100_000_000_000}
    assert parse_price({"audio_usd_per_hour": "0.04"}, "p").nano_usd_per_mtok == {"audio_second": 11_111_111_112}
    assert parse_price({"input_usd_per_mchar": "15"}, "p").nano_usd_per_mtok == {"input_character": 15_000_000_000}


PLAIN = {"input_usd_per_mtok": "1.25", "output_usd_per_mtok": "10"}
BUCKETS = {"input": 1_250_000_000, "output": 10_000_000_000}


def test_a_price_says_what_long_prompts_and_service_tiers_cost():
    above = {**PLAIN, "above": {200000: {"input_usd_per_mtok": "2.5"}, "300000": {"output_usd_per_mtok": "15"}}}
    long = {**BUCKETS, "input>200000": 2_500_000_000, "output>300000": 15_000_000_000}
    assert parse_price(above, "p").nano_usd_per_mtok == long
    tiers = {**PLAIN, "service_tiers": {"flex": 0.5, "priority": {**PLAIN, "input_usd_per_mtok": "9"}}}
    assert parse_price(tiers, "p").nano_usd_per_mtok == {
        **BUCKETS,
        **{"flex:input": 625_000_000, "flex:output": 5_000_000_000},
        **{"priority:input": 9_000_000_000, "priority:output": 10_000_000_000},
    }
    # A factor is for everything that a tier's prompts of that length cost, but not for the fee.
    both = parse_price({**above, "request_usd": "1", "service_tiers": {"batch": "0.333"}}, "p").nano_usd_per_mtok
    assert both["batch:input>300000"] == 832_500_000 and both["batch:output>200000"] == 3_330_000_000
    assert not [name for name in both if name.startswith("batch:request")]
    assert (
        parse_price({**PLAIN, "input_usd_per_mtok": "0.000000001", "service_tiers": {"flex": 0.1}}, "p").buckets[
            "flex:input"
        ]
        == 1
    ), "rounded up"
    every = {key: "1" for key in PRICE_KEYS if key not in ("audio_usd_per_hour", "input_usd_per_mchar")}
    assert len(parse_price(every, "p").buckets) == len(every)


def test_a_price_says_when_it_begins():
    begun = parse_price([PLAIN, {"from": dt.date(2027, 1, 1), "free": True}], "p")
    assert begun.buckets == BUCKETS and begun.valid_from is None
    assert [(one.valid_from, one.free) for one in begun.later] == [(dt.datetime(2027, 1, 1, tzinfo=dt.UTC), True)]
    moments = ["2027-01-01", "2027-01-01T00:00:00Z", "2027-01-01T01:00:00+01:00", dt.datetime(2027, 1, 1)]
    for moment in moments:
        one = parse_price([{"from": moment, **PLAIN}], "p")
        assert one.valid_from == dt.datetime(2027, 1, 1, tzinfo=dt.UTC)
    loaded = yaml.safe_load("[{free: true}, {from: 2027-01-01T08:00:00+02:00, free: true}]")
    assert parse_price(loaded, "p").later[0].valid_from == dt.datetime(2027, 1, 1, 6, tzinfo=dt.UTC)
    assert parse_price({"free": True}, "p") == parse_price("free", "p")


@given(st.sampled_from(["", "flex", "a_b2"]), st.sampled_from(sorted(PRICE_KEYS.values())), st.integers(0, 10**10 - 1))
def test_a_stored_name_is_taken_apart_as_it_was_made(tier, bucket, above):
    assert split_bucket(bucket_name(tier, bucket, above)) == (tier, bucket, above)


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        ({"input_usd_per_mtok": 1}, "output_usd_per_mtok"),
        ({**PLAIN, "above": {"many": PLAIN}}, "above.many"),
        ({**PLAIN, "above": {0: PLAIN}}, "above.0"),
        ({**PLAIN, "above": {200: {}}}, "above.200"),
        ({**PLAIN, "above": {200: {"inputs": 1}}}, "above.200: unknown key"),
        ({**PLAIN, "above": {200: {"above": {}}}}, "unknown key"),
        ({**PLAIN, "above": [200]}, "a mapping is needed"),
        ({**PLAIN, "above": dict.fromkeys(range(1, 12), PLAIN)}, "at most"),
        ({**PLAIN, "service_tiers": {"Flex!": 0.5}}, "named as providers do"),
        ({**PLAIN, "service_tiers": {"standard": 0.5}}, "named as providers do"),
        ({**PLAIN, "service_tiers": {"flex": 0}}, "a factor is above 0"),
        ({**PLAIN, "service_tiers": {"flex": "half"}}, "service_tiers.flex"),
        ({**PLAIN, "service_tiers": {"flex": {}}}, "it is empty"),
        ({**PLAIN, "service_tiers": {"flex": {"service_tiers": {}}}}, "no tiers of its own"),
        ({**PLAIN, "service_tiers": {f"t{n}": 2 for n in range(9)}}, "at most"),
        ({**PLAIN, "input_usd_per_mtok": 10_001}, "10,000 dollars"),
        ({**PLAIN, "free": True}, "stands alone"),
        ({"free": False}, "true is all"),
        ([], "the list is empty"),
        (["free", PLAIN], "[0]"),
        ([PLAIN, PLAIN], "the day it begins"),
        ([PLAIN, {"from": "soon", **PLAIN}], "no day like"),
        ([PLAIN, {"from": 7, **PLAIN}], "no day like"),
        ([{"from": "2027-01-02", **PLAIN}, {"from": "2027-01-02", **PLAIN}], "later than the one before"),
        ({}, "say at least"),
        ({"audio_usd_per_hour": 1, "input_usd_per_mtok": 1}, "not by two of them"),
        ({"audio_usd_per_hour": 1, "input_usd_per_mchar": 1}, "not by two of them"),
        ({"input_usd_per_mtokk": 1}, 'did you mean "input_usd_per_mtok"'),
        ("gratis", '"free"'),
        (7, '"free"'),
        ({"input_usd_per_mtok": "x", "output_usd_per_mtok": 1}, "models[3].price.input_usd_per_mtok"),
    ],
)
def test_a_wrong_price_is_refused_with_place_and_mend(raw, said):
    with pytest.raises(ConfigError, match=re.escape(said)) as caught:
        model(price=raw)
    assert caught.value.message.startswith("models[3].price")


def test_a_model_gets_the_providers_name_from_its_id():
    made = model(capabilities=["tools", "json"], quality="0.7", **{"class": "demo"})
    assert (made.name, made.source, made.model_class) == ("gpt-4o-mini", "config", "demo")
    assert (made.capabilities, made.quality, made.price) == (("tools", "json"), 0.7, None)
    assert model(name="other").name == "other"


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"qualty": 1}, 'unknown key "qualty" (did you mean "quality"?)'),
        ({"quality": 1.1}, "quality must be between 0 and 1, not 1.1"),
        ({"quality": float("nan")}, "quality must be between 0 and 1"),
        ({"quality": "good"}, 'quality: a number is needed, not "good"'),
        ({"context_tokens": "128k"}, 'context_tokens: a number is needed, not "128k"'),
        ({"max_output_tokens": None}, 'max_output_tokens: a number is needed, not "None"'),
        ({"capabilities": "tools"}, "capabilities"),
        ({"capabilities": 5}, "capabilities"),
        ({"context_tokens": float("inf")}, "context_tokens"),
        ({"context_tokens": -4}, "context_tokens"),
        ({"context_tokens": True}, "context_tokens"),
        ({"id": 5}, "id"),
    ],
    ids=str,
)
def test_a_wrong_field_of_a_model_is_refused_with_place_and_mend(more, said):
    with pytest.raises(ConfigError, match=re.escape(said)) as caught:
        model(**more)
    assert caught.value.message.startswith("models[3]")


@pytest.mark.parametrize("missing", ["id", "provider", "context_tokens"])
def test_a_missing_field_of_a_model_is_named(missing):
    with pytest.raises(ConfigError, match=rf'models\[3\]: "{missing}" is missing'):
        parse_model({key: value for key, value in MODEL.items() if key != missing}, "models[3]", "config")
    with pytest.raises(ConfigError, match="a model is a mapping"):
        parse_model("openai/gpt", "models[3]", "config")


@pytest.mark.parametrize(
    ("name", "raw", "said"),
    [
        ("mine", {}, 'providers.mine: "base_url" is missing'),
        ("mine", {"base_url": "http://x", "kind": "azure"}, 'providers.mine.kind: "azure" is none of openai'),
        ("mine", {"base_ur": "http://x"}, 'unknown key "base_ur" (did you mean "base_url"?)'),
        ("mine", {"managed_by": "environment"}, 'unknown key "managed_by"'),
        ("mine", "http://x", "a provider is a mapping"),
        ("openai", {"api_key": ["sk"]}, "providers.openai.api_key: a secret is text"),
        ("mine", {"base_url": "http://x", "max_concurrent": "ten"}, "max_concurrent"),
        ("mine", {"base_url": "http://x", "enabled": "no way"}, "enabled"),
    ],
)
def test_a_wrong_provider_is_refused_with_place_and_mend(name, raw, said):
    with pytest.raises(ConfigError, match=re.escape(said)):
        parse_provider(name, raw, {})


def test_a_known_provider_needs_only_its_key_which_is_never_shown(tmp_path):
    (tmp_path / "key").write_text("sk-file\n")
    for raw in ("sk-file", {"env": "MINE"}, {"file": str(tmp_path / "key")}):
        made = parse_provider("openai", {"api_key": raw}, {"MINE": "sk-file"})
        assert (made.base_url, made.kind, made.api_key.reveal()) == (KNOWN["openai"].base_url, "openai", "sk-file")
        assert "sk-file" not in repr(made)
    assert parse_provider("openai", {"api_key": {"env": "UNSET"}}, {}).api_key is None
    assert parse_provider("mine", {"base_url": "http://x/v1/"}, {}).base_url == "http://x/v1"


def test_google_speaks_its_own_dialect_but_at_its_openai_address():
    own, compatible = "https://generativelanguage.googleapis.com/v1beta", "https://proxy.example/v1beta/openai"
    for raw, kind, base_url in (
        ({}, "gemini", own),
        ({"base_url": "https://proxy.example/v1beta/"}, "gemini", "https://proxy.example/v1beta"),
        ({"base_url": compatible}, "openai", compatible),
        ({"base_url": compatible + "/"}, "openai", compatible),
        ({"kind": "openai", "base_url": compatible}, "openai", compatible),
        ({"kind": "openai"}, "openai", own + "/openai"),
    ):
        made = parse_provider("google", raw, {})
        assert (made.kind, made.base_url) == (kind, base_url)
    (found,) = [one for one in parse_catalog({}, {}, {"GOOGLE_API_KEY": "k"})[0] if one.provider == "google"]
    assert (found.kind, found.base_url) == ("gemini", own)
    with pytest.raises(ConfigError, match='"base_url" is missing'):
        parse_provider("google", {"kind": "anthropic"}, {})


@pytest.mark.parametrize(
    ("name", "own", "compatible"),
    [
        ("ollama", "http://127.0.0.1:11434", "http://gpu:11434/v1"),
        ("cohere", "https://api.cohere.com", "https://api.cohere.com/compatibility/v1"),
    ],
)
def test_others_speak_their_own_dialect_but_at_their_openai_addresses(name, own, compatible):
    assert (parse_provider(name, {}, {}).kind, parse_provider(name, {}, {}).base_url) == (name, own)
    assert parse_provider(name, {"base_url": compatible + "/"}, {}).kind == "openai"
    assert parse_provider(name, {"base_url": compatible, "kind": "openai"}, {}).base_url == compatible
    assert parse_provider(name, {"kind": "openai"}, {}).base_url.startswith(own + "/")
    assert parse_provider(name, {"base_url": "http://proxy:1"}, {}).kind == name


def test_an_ollama_of_the_environment_keeps_its_openai_address():
    for said, kind, base in (
        ("http://gpu:11434", "ollama", "http://gpu:11434"),
        ("http://gpu:11434/v1/", "openai", "http://gpu:11434/v1"),
    ):
        (found,) = [one for one in parse_catalog({}, {}, {"OLLAMA_BASE_URL": said})[0] if one.provider == "ollama"]
        assert (found.kind, found.base_url) == (kind, base)


def test_options_are_those_of_the_kind():
    made = parse_provider("ollama", {"options": ["num_ctx=16384", "keep_alive=10m"]}, {})
    assert made.options == ("num_ctx=16384", "keep_alive=10m")
    for kind, option, said in (
        ("ollama", "num_ctx=many", "num_ctx is a number of tokens"),
        ("ollama", "num_ctx=0", "num_ctx is a number of tokens"),
        ("ollama", "num_ctxx=1", 'did you mean "num_ctx"'),
        ("ollama", "num_ctx", "name=value"),
        ("openai", "region=x", "has none"),
    ):
        with pytest.raises(ConfigError, match=re.escape(said)):
            parse_provider("mine", {"kind": kind, "base_url": "http://x", "options": [option]}, {})


def test_a_key_of_the_local_provider_is_not_shown_either():
    assert "sk-file" not in repr(parse_provider("local", {"api_key": "sk-file"}, {}))


def test_providers_come_from_the_environment_and_the_file_wins():
    env = {"OPENAI_API_KEY": "sk-env", "OLLAMA_BASE_URL": "http://gpu:11434/", "MISTRAL_API_KEY": ""}
    found = {one.provider: one for one in parse_catalog({}, {}, env)[0]}
    assert set(found) == {"local", "openai", "ollama"} and found["local"] == LOCAL
    assert (found["openai"].managed_by, found["openai"].api_key) == ("environment", Secret("sk-env"))
    assert (found["ollama"].base_url, found["ollama"].allow_private_address) == ("http://gpu:11434", True)
    assert found["ollama"].kind == "ollama"
    document = {"providers": {"openai": {"api_key": "sk-own", "max_concurrent": 3}, "local": {"enabled": False}}}
    found = {one.provider: one for one in parse_catalog(document, {}, env)[0]}
    assert (found["openai"].managed_by, found["openai"].api_key.reveal()) == ("file", "sk-own")
    assert not found["local"].enabled and found["local"].base_url == LOCAL.base_url


def test_an_operators_model_replaces_the_shipped_one_and_needs_a_provider_that_exists():
    shipped = {"models": [{**MODEL, "quality": 0.5}, {**MODEL, "id": "openai/other"}]}
    found = {one.model: one for one in parse_catalog({"models": [{**MODEL, "quality": 0.9}]}, shipped, {})[1]}
    assert (found[MODEL["id"]].quality, found[MODEL["id"]].source) == (0.9, "config")
    assert found["openai/other"].source == "catalog"
    with pytest.raises(ConfigError, match=r'models\[0\] \(x/y\): there is no provider "locale" \(did you mean "local"'):
        parse_catalog({"models": [{"id": "x/y", "provider": "locale", "context_tokens": 1}]}, {}, {})


@pytest.mark.parametrize("document", [{"providers": ["openai"]}, {"models": 5}])
def test_a_section_of_the_wrong_form_is_refused(document):
    with pytest.raises(ConfigError):
        parse_catalog(document, {}, {})


def test_the_shipped_catalog_is_sound():
    _, models = parse_catalog({}, read_documents(SHIPPED_CONFIG), {})
    assert models and all(one.source == "catalog" and one.context_tokens > 0 for one in models)
    assert all(one.provider in KNOWN or one.provider == "local" for one in models)


def test_only_openais_dialect_may_speak_responses():
    assert parse_provider("mine", {"base_url": "https://m.example/v1", "responses": True}, {}).responses
    with pytest.raises(ConfigError, match=r"providers\.mine\.responses"):
        parse_provider("mine", {"kind": "gemini", "base_url": "https://m.example", "responses": True}, {})


def test_identities_name_a_model_in_public_sources() -> None:
    model = {"id": "openai/x", "context_tokens": 1000, "provider": "openai"}
    got = parse_catalog({"models": [{**model, "identities": {"lmarena": "x-1", "litellm": ""}}]}, {}, {})[1][0]
    assert got.identities == {"lmarena": "x-1", "litellm": ""}
    assert parse_catalog({"models": [model]}, {}, {})[1][0].identities == {}


@pytest.mark.parametrize(
    ("identities", "said"),
    [
        (["lmarena"], "models[0].identities: a mapping of sources to names is needed"),
        ({"lmarina": "x"}, 'models[0].identities: there is no source "lmarina" (did you mean "lmarena"?)'),
        ({"zzz": "x"}, "(known: benchmarks, genai_prices"),
        ({"lmarena": 4}, 'models[0].identities.lmarena: a name is needed, or "" for "not there"'),
    ],
)
def test_a_wrong_identity_is_refused_with_place_and_mend(identities: object, said: str) -> None:
    model = {"id": "openai/x", "context_tokens": 1000, "provider": "openai", "identities": identities}
    with pytest.raises(ConfigError, match=re.escape(said)):
        parse_catalog({"models": [model]}, {}, {})
