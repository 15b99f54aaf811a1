"""Conversations over HTTP: both families of paths are the same threads, and a user's thread is that user's."""

import httpx
import pytest

from mesh.ids import uuid7

ASK = {"model": "mock/gpt-4o-mini", "max_tokens": 4}


@pytest.fixture(scope="module")
def admin(dac):
    """The bootstrap key's client."""
    with httpx.Client(base_url=dac.url, headers=dac.headers, timeout=30) as client:
        yield client


@pytest.fixture
def thread(admin):
    """A thread with two turns, through the chat path."""
    name = f"talk-{uuid7()}"
    made = admin.post("/v1/conversations", json={"conversation_id": name, "title": "Talk", "tags": [name]})
    assert made.json()["thread"]["thread_id"] == name
    for question in ("one?", "two?"):
        answer = admin.post(
            "/v1/chat/completions",
            json={**ASK, "thread_id": name, "messages": [{"role": "user", "content": question}]},
        )
        assert answer.status_code == 200, answer.text
    return name


def texts(admin, path):
    return [one["text"] for one in admin.get(path).json()["messages"]]


def test_both_families_are_the_same_threads(admin, thread):
    a, b = f"/api/threads/{thread}", f"/v1/conversations/{thread}"
    assert admin.get(a).json() == admin.get(b).json()
    assert admin.get(f"{a}/messages").json() == admin.get(f"{b}/messages").json()
    assert admin.get(f"/v1/conversations?tag={thread}").json()["threads"] == [admin.get(a).json()["thread"]]
    changed = admin.patch(b, json={"title": "New", "parameters": {"seed": 7}}).json()["thread"]
    assert admin.get(a).json()["thread"] == changed and changed["parameters"] == {"seed": 7}
    assert admin.delete(a).status_code == 200
    assert admin.get(b).status_code == 404
    assert admin.post(f"{b}/restore").json()["thread"]["message_count"] == "4"
    assert admin.delete(f"{b}?erase=true").status_code == 200
    assert admin.post(f"{a}/restore").status_code == 404


def test_a_talk_is_edited_branched_and_merged(admin, thread):
    path = f"/v1/conversations/{thread}"
    question = admin.get(f"{path}/messages").json()["messages"][2]
    assert question["text"] == "two?"
    edited = admin.patch(f"{path}/messages/{question['message_id']}", json={"content": "Two?"}).json()
    branch = edited["branch"]["branch_id"]
    assert texts(admin, f"{path}/messages")[::2] == ["one?", "Two?"]
    more = {**ASK, "thread_id": thread, "messages": [{"role": "user", "content": "three?"}]}
    assert admin.post("/v1/chat/completions", json=more).status_code == 200
    assert texts(admin, f"{path}/messages")[2:4] == ["Two?", "three?"], "a chat goes on on the active branch"
    stats = admin.get(f"{path}/branches/{branch}/stats").json()
    assert (stats["message_count"], stats["ahead_of_main"], stats["behind_main"]) == ("5", "3", "2")
    assert admin.post(f"{path}/branches/main/activate").json()["branch"]["active"]
    merged = admin.post(f"/api/threads/{thread}/branches/{branch}/merge", json={"request_id": "m"}).json()
    assert len(merged["message_ids"]) == 3 and len(texts(admin, f"{path}/messages")) == 7
    assert admin.delete(f"{path}/branches/{branch}").status_code == 200
    assert admin.delete(f"{path}/messages/{merged['message_ids'][0]}?erase=true").status_code == 200
    assert "Two?" not in texts(admin, f"{path}/messages?all=true&include_deleted=true")
    refused = admin.delete(f"{path}/branches/main")
    assert (refused.status_code, refused.json()["error"]["code"]) == (409, "failed_precondition")


def test_a_users_thread_is_that_users(dac, admin, thread):
    user = admin.post("/v1/users", json={"name": f"Ann {thread}"}).json()["user"]["user_id"]
    made = admin.post("/v1/keys", json={"name": "ann", "scopes": ["chat", "read"], "user_id": user}).json()
    plain = admin.post("/v1/keys", json={"name": "plain", "scopes": ["chat", "read"]}).json()
    with (
        httpx.Client(base_url=dac.url, headers={"authorization": f"Bearer {made['token']}"}) as ann,
        httpx.Client(base_url=dac.url, headers={"authorization": f"Bearer {plain['token']}"}) as other,
    ):
        assert ann.get(f"/api/threads/{thread}").status_code == 404, "the organisation's"
        own = f"own-{thread}"
        body = {**ASK, "thread_id": own, "messages": [{"role": "user", "content": "mine"}]}
        assert ann.post("/v1/chat/completions", json=body).status_code == 200
        assert [one["thread_id"] for one in ann.get("/v1/conversations").json()["threads"]] == [own]
        assert other.get(f"/v1/conversations/{own}/messages").status_code == 404
        assert other.post("/v1/chat/completions", json=body).status_code == 404, "its id is taken"
        assert admin.get(f"/api/threads/{own}").json()["thread"]["user_id"] == user, "an admin sees it"
        assert other.get(f"/api/threads/{thread}").status_code == 200
