"""Conversations over HTTP and on the command line: searched, exported, imported, changed many at once."""

import json
import os

import httpx
import pytest
from typer.testing import CliRunner

from mesh.cli import application
from mesh.ids import uuid7

ASK = {"model": "mock/gpt-4o-mini", "max_tokens": 4}


@pytest.fixture(scope="module")
def admin(dac):
    """The bootstrap key's client."""
    with httpx.Client(base_url=dac.url, headers=dac.headers, timeout=30) as client:
        yield client


@pytest.fixture(scope="module")
def talk(admin):
    """A thread with a turn, an edited question and its answer, through the chat path; and its one rare word."""
    name, word = f"talk-{uuid7()}", f"quokka{uuid7()[-12:]}"
    for question in (f"Where lives the {word}?", "And what does it eat?"):
        ask = {**ASK, "thread_id": name, "messages": [{"role": "user", "content": question}]}
        assert admin.post("/v1/chat/completions", json=ask).status_code == 200
    path = f"/v1/conversations/{name}"
    question = admin.get(f"{path}/messages").json()["messages"][2]
    admin.patch(f"{path}/messages/{question['message_id']}", json={"content": "And what does it weigh?"})
    return name, word


def dac_command(dac, *arguments, stdin=""):
    """A command in this process, with the first key."""
    env = {"DAC_BASE_URL": dac.url, "DAC_API_KEY": dac.key, "PATH": os.environ["PATH"]}
    done = CliRunner().invoke(application(), ["conversations", *arguments], env=env, input=stdin)
    assert done.exit_code == 0, done.output
    return done.stdout


@pytest.mark.parametrize("path", ["/v1/conversations/messages/search", "/api/threads/search"])
def test_what_was_said_is_found_in_both_families(admin, talk, path):
    name, word = talk
    answer = admin.post(path, json={"query": word, "mode": "SEARCH_MODE_WORDS"}).json()
    assert [one["message"]["thread_id"] for one in answer["hits"]] == [name]
    snippet = answer["hits"][0]["snippets"][0]
    assert snippet["text"][snippet["found"][0]["start"] : snippet["found"][0]["end"]] == word
    within = admin.post(f"/v1/conversations/{name}/messages/search", json={"query": "weigh"}).json()
    assert within["hits"][0]["message"]["text"] == "And what does it weigh?"
    assert admin.post(path, json={"querry": word}).status_code == 400


def test_the_tree_and_its_counts(admin, talk):
    name, _ = talk
    full = admin.get(f"/v1/conversations/{name}/full").json()
    assert full == admin.get(f"/api/threads/{name}/full").json()
    texts = {one["message"]["message_id"]: one["message"]["text"] for one in full["nodes"]}
    parting = next(one for one in full["nodes"] if len(one["child_message_ids"]) == 2)
    assert [texts[child] for child in parting["child_message_ids"]] == [
        "And what does it eat?",
        "And what does it weigh?",
    ]
    assert int(admin.get("/v1/users/me/conversations/stats").json()["threads"]) >= 1


@pytest.mark.parametrize(("form", "kind"), [("json", "application/json"), ("markdown", "text/markdown; charset=utf-8")])
def test_a_file_is_the_body_of_its_import(admin, talk, form, kind):
    name, _ = talk
    exported = admin.get(f"/v1/conversations/{name}/export", params={"format": form})
    assert (exported.status_code, exported.headers["content-type"]) == (200, kind)
    copy = f"{name}-{form}"
    body = {**exported.json(), "thread_id": copy} if form == "json" else {"markdown": exported.text, "thread_id": copy}
    made = admin.post("/v1/conversations/import", json=body).json()
    assert (made["created"], made["message_count"], made["branch_count"], made["notes"]) == (True, "5", "2", [])
    assert not admin.post("/api/threads/import", json=body).json()["created"]
    texts = [one["text"] for one in admin.get(f"/v1/conversations/{copy}/messages").json()["messages"]]
    assert texts == [one["text"] for one in admin.get(f"/v1/conversations/{name}/messages").json()["messages"]]
    if form == "json":
        same = admin.post("/v1/conversations/import", content=exported.content)
        assert same.status_code == 200 and not same.json()["created"], "the file as it is"
    assert admin.get(f"/v1/conversations/{name}/export?format=pdf").status_code == 400
    assert admin.get("/v1/conversations/nowhere/export").status_code == 404


def test_a_batch_over_http(admin):
    name = f"batch-{uuid7()}"
    body = {
        "request_id": name,
        "operations": [
            {"create": {"conversation_id": name, "title": "One"}},
            {"tag": {"thread_id": name, "add": ["x"]}},
            {"delete": {"thread_id": f"{name}-nowhere"}},
        ],
    }
    answer = admin.post("/v1/conversations/batch", json=body).json()
    assert (answer["succeeded"], answer["failed"]) == (2, 1)
    assert answer["results"][2]["error"]["reason"] == "NOT_FOUND"
    again = admin.post("/api/threads/batch", json=body).json()
    assert again["results"][2] == answer["results"][2] and again["succeeded"] == 2
    assert admin.post("/v1/conversations/batch", json={**body, "operations": []}).status_code == 400


def test_the_command_takes_conversations_along(dac, talk, tmp_path):
    name, word = talk
    assert name in dac_command(dac, "list")
    assert name in dac_command(dac, "search", word)
    assert json.loads(dac_command(dac, "search", word, "--in", name, "--json"))["hits"]
    assert json.loads(dac_command(dac, "export", name))["thread"]["thread_id"] == name
    file = tmp_path / "talk.md"
    dac_command(dac, "export", name, "--format", "markdown", "--to", str(file))
    assert f"Where lives the {word}?" in file.read_text()
    assert "made (5 messages, 2 branches)" in dac_command(dac, "import", str(file), "--as", f"{name}-again")
    assert "is there already" in dac_command(dac, "import", "-", "--as", f"{name}-again", stdin=file.read_text())
