"""Kinds of providers from installed packages: the documented example in a running DAC, and broken ones beside it."""

import json
import pathlib
import re
import tomllib

import openai
import pytest

from mesh.catalog import parse_provider
from mesh.config import ConfigError
from tests.edge import native
from tests.edge.conftest import make_dac
from tests.unit.provider.listening import listening

PAGE = (pathlib.Path(__file__).resolve().parents[2] / "docs" / "plugins.md").read_text()
MODELS = "".join(
    f"\n  - {{id: {name}/one, provider: {name}, name: one, context_tokens: 8000, price: free}}"
    for name in ("acme", "broken", "leaving", "wrong", "raising", "odd")
)
BROKEN = {
    "broken": "import a_module_that_is_not_there\n",
    "leaving": "raise SystemExit(3)\n",
    "wrong": "KIND = {'chat': None}\n",
    "raising": "from services.provider.plugin import Kind\ndef chat(*_):\n    raise RuntimeError('secret words')\n"
    "KIND = Kind(chat)\n",
    "odd": "from services.provider.plugin import Kind\nclass X:\n    first = finished = done = False\n"
    "    def outgoing(self):\n        return 'no request'\nKIND = Kind(lambda *_: X())\n",
}


def block(language, page=PAGE):
    """The one block of that language."""
    return re.findall(rf"```{language}\n(.*?)```", page, re.S)[0]


def install(folder, name, module, entry_points):
    """What pip leaves of a package: the module, and a dist-info with its entry points."""
    (folder / f"dac_{name}.py").write_text(module)
    info = folder / f"dac_{name}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: dac-{name}\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(entry_points)


def say(sent):
    """The provider of the example."""
    assert sent.path == "/say" and sent.headers["x-acme-key"] == "mock-secret-canary-5b1f"
    words = ["Hello", " from", " acme"][: sent.body["limit"] or 3]
    end = {"read": 3, "wrote": len(words), "end": "limit" if len(words) < 3 else "done"}
    if not sent.body["lines"]:
        return "application/json", json.dumps({"text": "".join(words), **end}).encode()
    lines = [*({"text": word} for word in words), *([end] if sent.body["model"] == "one" else [])]
    return "application/x-ndjson", b"".join(json.dumps(line).encode() + b"\n" for line in lines)


@pytest.fixture(scope="module")
def dac(tmp_path_factory, upstream_process):
    packages = tmp_path_factory.mktemp("packages")
    project = tomllib.loads(block("toml"))["project"]
    offered = project["entry-points"]["dac.providers"]
    install(packages, "acme", block("python"), f"[dac.providers]\nacme = {offered['acme']}\n")
    for name, module in BROKEN.items():
        install(packages, name, module, f"[dac.providers]\n{name} = dac_{name}:KIND\n")
    with listening(say) as (address, _):
        made = make_dac(tmp_path_factory.mktemp("dac"), upstream_process, more=MODELS)
        made.env["PYTHONPATH"] = f"{packages}:{made.env.get('PYTHONPATH', '')}"
        more = "".join(
            f"\n  {name}: {{kind: {name}, base_url: '{address}', api_key: {{env: MOCK_API_KEY}}, "
            "allow_private_address: true}"
            for name in ("acme", *BROKEN)
        )
        made.config.write_text(made.config.read_text().replace("providers:", "providers:" + more, 1))
        made.start()
        yield made
        assert made.stop() == 0, made.log()


def ask(dac, model="acme/one", **fields):
    client = openai.OpenAI(base_url=f"{dac.url}/v1", api_key=dac.key, max_retries=0)
    body = {"model": model, "messages": [{"role": "user", "content": "Hello"}], **fields}
    return client.chat.completions.create(**body)


def test_the_documented_example_answers(dac):
    answer = ask(dac)
    assert answer.choices[0].message.content == "Hello from acme"
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens) == (3, 3)
    chunks = list(ask(dac, stream=True, max_tokens=2))
    assert native.said(chunks) == "Hello from" and chunks[-1].choices[0].finish_reason == "length"
    with pytest.raises(openai.BadRequestError, match="acme has none"):
        ask(dac, tools=[native.TOOL])


@pytest.mark.parametrize("stream", [False, True])
def test_callers_of_messages_are_served(dac, stream):
    response = native.in_anthropics_words(dac, "acme", stream=stream, model="acme/one")
    assert response.status_code == 200, response.text
    assert "Hello" in response.text and "acme" in response.text


@pytest.mark.parametrize(
    ("name", "told"),
    [("broken", "a_module_that_is_not_there"), ("leaving", "SystemExit"), ("wrong", "not a Kind")],
)
def test_a_plug_in_that_cannot_be_loaded_is_named_and_stops_nothing(dac, name, told):
    with pytest.raises(openai.APIStatusError) as caught:
        ask(dac, f"{name}/one")
    assert caught.value.status_code >= 400
    status = next(one for one in dac.get("/v1/providers").json()["providers"] if one["provider"] == name)
    assert status["enabled"] is False
    assert told in (dac.data_dir.parent / "dac.log").read_text()
    assert ask(dac).choices[0].message.content == "Hello from acme"


@pytest.mark.parametrize(("name", "told"), [("raising", "RuntimeError"), ("odd", "it gave a str, not Outgoing")])
def test_a_plug_in_that_fails_fails_only_its_attempt(dac, name, told):
    with pytest.raises(openai.APIStatusError) as caught:
        ask(dac, f"{name}/one")
    assert told in caught.value.message and f'kind "{name}"' in caught.value.message
    assert "secret words" not in caught.value.message
    assert ask(dac).choices[0].message.content == "Hello from acme"


def test_a_kind_that_nobody_offers_is_refused():
    with pytest.raises(ConfigError, match='"acmee" is none of'):
        parse_provider("x", {"kind": "acmee", "base_url": "http://x"}, {})
