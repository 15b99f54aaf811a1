"""Decisions: who answers, who stands behind, and what a refusal says."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mesh.catalog import DeploymentEntry, ModelEntry
from mesh.errors import MeshError, Reason
from mesh.model_prices import PriceEntry
from services.router.catalog.catalog import CatalogView, PriceView, ProviderView, build_view, price_of
from services.router.config import RouterConfig
from services.router.deciding.breakers import BreakerRules, Breakers
from services.router.deciding.decision import Decider
from services.router.deciding.sheet import Decision
from services.router.policies.policy import Ask, may_use

USD = 1_000_000_000


def entry(model: str, quality: float = 0.8, usd: float = 1.0, **more: object) -> ModelEntry:
    provider, name = model.split("/", 1)
    values: dict[str, object] = {"context_tokens": 128_000, "capabilities": ("tools", "images", "json"), **more}
    price = PriceEntry(False, {"input": int(usd * USD), "output": int(usd * USD)})
    return ModelEntry(model=model, provider=provider, name=name, quality=quality, price=price, **values)  # type: ignore[arg-type]


def view_of(*entries: ModelEntry, configured: str = "a b c openrouter local", **listed: tuple[str, ...]) -> CatalogView:
    providers = {name: ProviderView(name, True, listed.get(name, ())) for name in configured.split()}
    return build_view(entries, providers, {})


LOCAL = entry("local/tiny", 0.05, 0.0, model_class="demo", capabilities=("json",), context_tokens=4096)


def run(
    view: CatalogView, config: RouterConfig | None = None, breakers: Breakers | None = None, **ask: object
) -> Decision:
    decider = Decider(config or RouterConfig(), breakers or Breakers(lambda: 0.0))
    return decider.decide(view, Ask(**ask))  # type: ignore[arg-type]


def ids(decision: Decision) -> list[str]:
    return [model.id for model in decision.chain]


def refusal(view: CatalogView, **ask: Any) -> MeshError:
    with pytest.raises(MeshError) as caught:
        run(view, **ask)
    return caught.value


def test_profiles_choose_differently() -> None:
    view = view_of(entry("a/best", 0.95, 30), entry("b/cheap", 0.5, 0.06))
    assert ids(run(view, model="auto:quality"))[0] == "a/best"
    assert ids(run(view, model="auto:budget"))[0] == "b/cheap"
    assert ids(run(view, model="auto:budget", profile="quality"))[0] == "a/best"


def test_a_named_model_means_that_model() -> None:
    view = view_of(entry("a/one"), entry("b/two", 0.9))
    assert ids(run(view, model="a/one")) == ["a/one"]
    assert ids(run(view, RouterConfig(named_fallbacks=True), model="a/one")) == ["a/one", "b/two"]


def test_a_bare_name_prefers_the_native_provider_and_says_so() -> None:
    view = view_of(entry("a/one"), entry("openrouter/a/one"))
    decision = run(view, model="one")
    assert ids(decision) == ["a/one"] and '"one" was taken as a/one' in decision.reason
    assert refusal(view_of(entry("a/one"), entry("b/one")), model="one").reason is Reason.MODEL_NOT_FOUND


def test_the_first_fallback_is_another_provider_when_close() -> None:
    view = view_of(entry("a/1", 0.90), entry("a/2", 0.89), entry("b/3", 0.85))
    assert ids(run(view, model="auto:quality")) == ["a/1", "b/3", "a/2"]
    far = view_of(entry("a/1", 0.90), entry("a/2", 0.89), entry("b/3", 0.75))
    assert ids(run(far, model="auto:quality")) == ["a/1", "a/2", "b/3"]


def test_a_fallback_never_drops_quality_silently() -> None:
    view = view_of(entry("a/1", 0.9), entry("b/2", 0.8), entry("c/3", 0.5))
    decision = run(view, model="auto:quality")
    assert ids(decision) == ["a/1", "b/2"]
    assert [(model.id, "too far below" in why) for model, why in decision.left_out] == [("c/3", True)]
    alone = run(view_of(entry("a/1", 0.9), entry("c/3", 0.5)), model="auto:quality")
    assert ids(alone) == ["a/1"] and "much lower quality" in alone.reason


def test_demo_models_only_when_nothing_else_or_named() -> None:
    view = view_of(LOCAL, entry("a/1"))
    assert "local/tiny" not in ids(run(view, model="auto:budget"))
    assert ids(run(view, model="local/tiny")) == ["local/tiny"]
    assert ids(run(view_of(LOCAL, entry("a/1"), configured="local"), model="auto")) == ["local/tiny"]
    assert ids(run(view, model="auto", allowed_models=("local/*",))) == ["local/tiny"]


def test_a_demo_model_never_hides_that_the_others_do_not_fit() -> None:
    view = view_of(LOCAL, entry("a/1", capabilities=()))
    assert refusal(view, model="auto", needs_json=True).reason is Reason.NO_MODEL_AVAILABLE


def test_needs_and_room_are_respected() -> None:
    view = view_of(entry("a/blind", 0.9, capabilities=("tools",)), entry("b/sees", 0.5, context_tokens=10_000))
    assert ids(run(view, model="auto:quality", needs_images=True)) == ["b/sees"]
    assert ids(run(view, model="auto:quality", input_tokens=9_500)) == ["a/blind"]
    assert refusal(view, model="auto", input_tokens=500_000).reason is Reason.CONTEXT_TOO_LONG
    assert "cannot see images" in refusal(view_of(entry("a/x", capabilities=())), needs_images=True).message


def test_refusals_say_how_to_mend() -> None:
    view = view_of(entry("a/one-mini"), entry("zz/two"))
    unknown = refusal(view, model="a/one-mni")
    assert unknown.reason is Reason.MODEL_NOT_FOUND and "a/one-mini" in unknown.message
    missing = refusal(view, model="zz/two")
    assert missing.reason is Reason.NO_MODEL_AVAILABLE and "dac provider add zz" in missing.message
    assert refusal(view, model="a/one-mini", allowed_models=("zz/*",)).reason is Reason.PERMISSION_DENIED
    assert refusal(view, model="auto", allowed_models=("zz/*",)).reason is Reason.PERMISSION_DENIED
    assert refusal(view_of(entry("zz/two")), model="auto").reason is Reason.NO_MODEL_AVAILABLE
    bad = refusal(view, model="auto:fast")
    assert bad.reason is Reason.INVALID_REQUEST and "quality, balanced, speed, budget, long_context" in bad.message


def test_open_breakers_are_left_out_until_all_are_open() -> None:
    now = [0.0]
    breakers = Breakers(lambda: now[0])
    view = view_of(entry("a/1", 0.9), entry("b/2", 0.85))
    for _ in range(3):
        breakers.record("a/1", "a", ok=False, provider_fault=True)
    decision = run(view, breakers=breakers, model="auto:quality")
    assert ids(decision) == ["b/2"] and "breaker" in {m.id: w for m, w in decision.left_out}["a/1"]
    now[0] = 10.0
    for _ in range(4):
        breakers.record("b/2", "b", ok=False, provider_fault=True)
    decision = run(view, breakers=breakers, model="auto:quality")
    assert ids(decision) == ["a/1"] and "least bad" in decision.reason
    now[0] = 60.0
    assert ids(run(view, breakers=breakers, model="auto:quality")) == ["a/1"]
    assert "least bad" in run(view, breakers=breakers, model="auto:quality").reason, "the one trial was given out"


def test_a_decision_says_what_it_rests_on() -> None:
    view, breakers = view_of(entry("a/1"), entry("b/2")), Breakers(lambda: 0.0, BreakerRules(failures=1))
    assert run(view).basis == "best" and run(view, model="a/1").basis == "named"
    assert run(view, RouterConfig(named_fallbacks=True), model="a/1").basis == "named"
    assert run(view_of(LOCAL), model="auto").basis == "demo"
    for model, provider in (("a/1", "a"), ("b/2", "b")):
        breakers.record(model, provider, ok=False, provider_fault=True)
    assert run(view, breakers=breakers).basis == "least_bad"


def test_provider_lists_decide_and_unknown_models_are_discovered() -> None:
    view = view_of(entry("a/1"), entry("a/2"), a=("models/1", "new:7b", "nomic-embed-text"))
    assert view.by_id["a/1"].available and not view.by_id["a/2"].available
    assert view.by_id["a/new:7b"].entry.quality == 0.1
    embedding = view.by_id["a/nomic-embed-text"]
    assert embedding.can("embeddings") and not embedding.chats


def test_a_name_that_could_not_stand_in_a_header_is_not_discovered() -> None:
    view = view_of(entry("a/1"), a=("1", "x\r\nset-cookie: a=b", "x" * 131, "fine"))
    assert set(view.by_id) == {"a/1", "a/fine"}


def test_live_prices_win_over_the_files() -> None:
    prices = {("a", "a/1"): PriceView(60 * USD, 60 * USD)}
    model = build_view([entry("a/1", usd=0.05)], {"a": ProviderView("a", True)}, prices).by_id["a/1"]
    assert model.scores.cost == pytest.approx(0)


models = st.lists(
    st.tuples(st.sampled_from("abc"), st.integers(0, 40), st.floats(0, 1), st.floats(0, 50), st.booleans()),
    min_size=1,
    max_size=12,
    unique_by=lambda one: one[:2],
)


@given(models, st.sampled_from(["quality", "balanced", "speed", "budget", "long_context"]), st.booleans())
def test_chains_hold_their_rules(raw: list[tuple[str, int, float, float, bool]], profile: str, tools: bool) -> None:
    view = view_of(*(entry(f"{p}/{n}", q, usd, capabilities=("tools",) if can else ()) for p, n, q, usd, can in raw))
    try:
        decision = run(view, profile=profile, needs_tools=tools, allowed_models=("a/*", "b/*"))
    except MeshError as error:
        assert error.reason in (Reason.NO_MODEL_AVAILABLE, Reason.PERMISSION_DENIED)
        return
    chain = decision.chain
    assert 1 <= len(chain) <= 4 and len(set(ids(decision))) == len(chain)
    assert all(may_use(model.id, ("a/*", "b/*")) for model in chain)
    assert not tools or all("tools" in model.entry.capabilities for model in chain)
    dropped = [model for model in chain if model.entry.quality < chain[0].entry.quality - 0.25]
    assert not dropped or "much lower quality" in decision.reason


EMBED = {"capabilities": ("embeddings",)}


def test_a_named_model_embeds_alone() -> None:
    view = view_of(entry("a/embed", 0.5, **EMBED), entry("b/embed", 0.9, **EMBED), entry("a/one"))
    decision = run(view, RouterConfig(named_fallbacks=True), model="a/embed", needs_embeddings=True)
    assert ids(decision) == ["a/embed"] and "a/embed was named" in decision.reason
    both = entry("a/both", capabilities=("embeddings", "json"))
    assert ids(run(view_of(both), model="a/both", needs_embeddings=True)) == ids(run(view_of(both))) == ["a/both"]


@pytest.mark.parametrize("model", ["", "auto", "auto:budget"])
def test_no_model_is_chosen_for_embeddings(model: str) -> None:
    view = view_of(entry("a/embed", **EMBED), entry("a/one"), entry("z/away", **EMBED))
    refused = refusal(view, model=model, needs_embeddings=True)
    assert refused.reason is Reason.INVALID_REQUEST and refused.metadata["field"] == "model"
    assert refused.message.endswith("name the model. Available: a/embed.")


def test_embeddings_are_refused_of_models_that_chat() -> None:
    refused = refusal(view_of(entry("a/one"), entry("a/embed", **EMBED)), model="a/one", needs_embeddings=True)
    assert refused.reason is Reason.INVALID_REQUEST and "Available: a/embed" in refused.message
    refused = refusal(view_of(entry("a/one")), model="a/one", needs_embeddings=True)
    assert "None is available" in refused.message
    assert refusal(view_of(entry("a/one")), model="no", needs_embeddings=True).reason is Reason.MODEL_NOT_FOUND
    away = refusal(view_of(entry("z/embed", **EMBED)), model="z/embed", needs_embeddings=True)
    assert away.reason is Reason.NO_MODEL_AVAILABLE
    fenced = refusal(
        view_of(entry("a/embed", **EMBED)), model="a/embed", needs_embeddings=True, allowed_models=("b/*",)
    )
    assert fenced.reason is Reason.PERMISSION_DENIED


def test_no_chat_is_routed_to_a_model_that_only_embeds() -> None:
    view = view_of(entry("a/embed", 1.0, 0.0, **EMBED), entry("b/one", 0.1))
    for profile in ("quality", "balanced", "speed", "budget", "long_context"):
        assert ids(run(view, model=f"auto:{profile}")) == ["b/one"]
    assert ids(run(view, RouterConfig(named_fallbacks=True), model="b/one")) == ["b/one"]
    refused = refusal(view, model="a/embed")
    assert refused.reason is Reason.INVALID_REQUEST and "POST /v1/embeddings" in refused.message
    alone = view_of(entry("a/embed", **EMBED))
    assert refusal(alone).reason is Reason.NO_MODEL_AVAILABLE and "only make embeddings" in refusal(alone).message
    assert "no provider is configured" in refusal(view_of(entry("z/one"))).message


HEARS, SPEAKS = {"capabilities": ("transcription",)}, {"capabilities": ("speech",)}


def heard_of(*entries: ModelEntry, **audio: str) -> CatalogView:
    """A view in which every provider has said what it has of audio."""
    names = {one.provider for entry in entries for one in entry.endpoints}
    has = {name: frozenset(audio.get(name, "").split()) for name in names}
    return build_view(entries, {name: ProviderView(name, True, audio=has[name]) for name in names}, {})


def test_audio_goes_to_the_named_model_alone() -> None:
    view = heard_of(entry("a/ear", **HEARS), entry("a/voice", **SPEAKS), entry("a/one"), a="transcription speech")
    decision = run(view, RouterConfig(named_fallbacks=True), model="a/ear", needs_audio="transcription")
    assert ids(decision) == ["a/ear"] and "transcriptions have no fallback" in decision.reason
    assert ids(run(view, model="a/voice", needs_audio="speech")) == ["a/voice"]
    assert ids(run(view)) == ["a/one"]
    for model, needs, said in (
        ("auto", "speech", "Available: a/voice."),
        ("a/ear", "speech", "a/ear does not speak. Available: a/voice."),
        ("a/one", "transcription", "a/one chats and does not transcribe."),
        ("a/ear", "translation", "a/ear cannot be asked for a translation"),
        ("a/ear", "singing", "say transcription, translation or speech"),
        ("a/ear", "", "POST /v1/audio/transcriptions"),
    ):
        refused = refusal(view, model=model, needs_audio=needs)
        assert refused.reason is Reason.INVALID_REQUEST and said in refused.message, refused.message
    refused = refusal(view, model="a/ear", needs_audio="transcription", allowed_models=("b/*",))
    assert refused.reason is Reason.PERMISSION_DENIED


def test_audio_is_asked_only_where_it_is_to_be_had() -> None:
    both = (DeploymentEntry("a", "x"), DeploymentEntry("b", "x", priority=1))
    ear = entry("a/ear", deployments=both, **HEARS)
    (model,) = run(heard_of(ear, b="transcription"), model="a/ear", needs_audio="transcription").chain
    assert model.places == ("b",) and [one.provider for one in model.deployments] == ["b"]
    (model,) = run(
        heard_of(ear, a="transcription", b="transcription"), model="a/ear", needs_audio="transcription"
    ).chain
    assert model.places == ("a", "b")
    refused = refusal(heard_of(ear), model="a/ear", needs_audio="transcription")
    assert refused.reason is Reason.INVALID_REQUEST and "it stands at a, b, which have none" in refused.message
    # Before provider has been heard nobody is held back.
    assert ids(run(view_of(ear), model="a/ear", needs_audio="transcription")) == ["a/ear"]


def test_a_price_by_another_measure_than_tokens_is_not_shown_as_nothing() -> None:
    assert price_of({}) == price_of({"request": 5}) == PriceView(0, 0)
    for bucket in ("audio_second", "input_character"):
        assert price_of({bucket: 5}) == price_of({bucket: 5, "request": 5}) == PriceView(None, None)
