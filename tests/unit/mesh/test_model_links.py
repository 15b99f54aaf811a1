"""Fallbacks and aliases as operators write them: mistakes are named with their place and the nearest right name."""

import re
from typing import Any

import pytest

from mesh.catalog import ModelEntry, parse_catalog
from mesh.config import ConfigError
from mesh.model_links import never_chats

PROVIDERS = {"a": {"base_url": "http://a"}, "b": {"base_url": "http://b"}}


def model(name: str, **more: Any) -> dict[str, Any]:
    return {"id": name, "provider": name.split("/")[0], "context_tokens": 1000, **more}


EMBED = model("a/embed", capabilities=["embeddings"])


def parsed(*models: dict[str, Any], **top: Any) -> dict[str, ModelEntry]:
    return {one.model: one for one in parse_catalog({"providers": PROVIDERS, "models": [*models], **top}, {}, {})[1]}


def test_fallbacks_keep_their_order_and_may_come_later_in_the_file() -> None:
    got = parsed(model("a/one", fallbacks=["b/two", "a/three"]), model("a/three"), model("b/two"))
    assert got["a/one"].fallbacks == ("b/two", "a/three")


def test_aliases_stand_with_their_models() -> None:
    got = parsed(model("a/one"), model("b/two"), aliases={"gpt-4": "a/one", "four": "a/one"})
    assert got["a/one"].aliases == ("gpt-4", "four") and got["b/two"].aliases == ()
    assert parsed(model("a/one"), aliases=None)["a/one"].aliases == ()


@pytest.mark.parametrize(
    ("fallbacks", "said"),
    [
        (["b/twoo"], 'models (a/one).fallbacks: there is no model "b/twoo" (did you mean "b/two"?)'),
        (["a/one"], "a/one cannot stand in for itself"),
        (["b/two", "b/two"], "b/two is there twice"),
        (["a/embed"], "a/embed makes embeddings and does not chat"),
        ("b/two", "models[0].fallbacks: a list of model ids is needed"),
        ([5], "models[0].fallbacks: text is needed"),
    ],
    ids=str,
)
def test_a_wrong_fallback_is_refused_with_place_and_mend(fallbacks: Any, said: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(said)):
        parsed(model("a/one", fallbacks=fallbacks), model("b/two"), EMBED)


def test_nothing_stands_in_for_an_embedding_model() -> None:
    with pytest.raises(ConfigError, match="vectors of two models cannot be compared"):
        parsed({**EMBED, "fallbacks": ["b/two"]}, model("b/two"))


def test_only_chats_fall_back() -> None:
    voice = model("a/voice", capabilities=["speech", "transcription"])
    with pytest.raises(ConfigError, match="a/voice does not chat, and only chats fall back"):
        parsed({**voice, "fallbacks": ["b/two"]}, model("b/two"))
    with pytest.raises(ConfigError, match="a/voice does not chat: name a model that chats"):
        parsed(model("b/two", fallbacks=["a/voice"]), voice)
    both = model("a/both", capabilities=["speech", "json"])
    assert parsed(model("b/two", fallbacks=["a/both"]), both)
    assert not never_chats(()) and never_chats(["embeddings", "speech"]) and not never_chats(["speech", "json"])


@pytest.mark.parametrize(
    ("aliases", "said"),
    [
        ({"gpt-4": "a/on"}, 'aliases.gpt-4: there is no model "a/on" (did you mean "a/one"?)'),
        ({"x": "y", "y": "a/one"}, 'aliases.x: it stands for "y", which is an alias, too'),
        ({"x": "y", "y": "x"}, 'aliases.x: it stands for "y", which is an alias, too'),
        ({"x": "x"}, "aliases.x: it stands for itself"),
        ({"b/two": "a/one"}, "aliases.b/two: a model of this id exists"),
        ({"auto": "a/one"}, "lets the router choose and cannot be an alias"),
        ({"auto:quality": "a/one"}, "lets the router choose and cannot be an alias"),
        ({4: "a/one"}, "aliases.4: a name and a model id are needed"),
        ({"x": ["a/one"]}, "aliases.x: a name and a model id are needed"),
        ({"": "a/one"}, "a name and a model id are needed"),
        (["gpt-4"], "aliases: a mapping of names to model ids is needed"),
    ],
    ids=str,
)
def test_a_wrong_alias_is_refused_with_place_and_mend(aliases: Any, said: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(said)):
        parsed(model("a/one"), model("b/two"), aliases=aliases)
