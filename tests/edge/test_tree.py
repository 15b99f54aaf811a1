"""A real `dac`: the tree by HTTP and by command, requests that act for a team, tags on records of every form."""

import json
import time

import grpc
import httpx
import pytest

from dac.gateway.v1 import chat_pb2, chat_pb2_grpc
from mesh.ids import uuid7
from tests.edge.conftest import Dac, UpstreamProcess
from tests.edge.test_cli import answered, run

CHAT = {"model": "mock/gpt-4o-mini", "messages": [{"role": "user", "content": "Say hello."}]}


def ask(dac: Dac, verb: str, path: str, key: str = "", **body: object) -> httpx.Response:
    """A call with the first key, or another."""
    headers = {"authorization": f"Bearer {key or dac.key}"}
    return httpx.request(verb, dac.url + path, json=body or None, headers=headers, timeout=30)


def made(dac: Dac, kind: str, name: str, **fields: object) -> str:
    """A new team, project or user; its id."""
    answer = ask(dac, "POST", f"/v1/{kind}s", name=f"{name} {uuid7()[-8:]}", **fields)
    assert answer.status_code == 200, answer.text
    return str(answer.json()[kind][f"{kind}_id"])


def new_key(dac: Dac, *scopes: str, **place: object) -> tuple[str, str]:
    """(key id, token)"""
    answer = ask(dac, "POST", "/v1/keys", name="k", scopes=[*(scopes or ("chat", "read"))], **place)
    assert answer.status_code == 200, answer.text
    return answer.json()["key"]["key_id"], answer.json()["token"]


def chat(dac: Dac, key: str, headers: dict[str, str] | None = None, **fields: object) -> httpx.Response:
    """A chat with a key."""
    sent = {"authorization": f"Bearer {key}", **(headers or {})}
    return httpx.post(dac.url + "/v1/chat/completions", json={**CHAT, **fields}, headers=sent, timeout=30)


def kinds(record: dict[str, object]) -> list[str]:
    """The levels of a record's path."""
    return [one["kind"].removeprefix("KIND_").lower() for one in record["path"]]  # type: ignore[attr-defined]


def ids(record: dict[str, object]) -> list[str]:
    """Their ids, but for the organisation's and the key's."""
    return [one["id"] for one in record["path"]][1:-1]  # type: ignore[attr-defined]


@pytest.fixture(scope="module")
def tree(dac: Dac) -> dict[str, str]:
    """Two teams beside each other, one within the first, and projects of them."""
    outer, beside = made(dac, "team", "outer"), made(dac, "team", "beside")
    inner = made(dac, "team", "inner", parent_team_id=outer)
    return {
        "outer": outer,
        "beside": beside,
        "inner": inner,
        "project": made(dac, "project", "p", team_id=inner),
        "foreign": made(dac, "project", "f", team_id=beside),
        "user": made(dac, "user", "u", email="u@example.com"),
    }


def test_the_tree_is_made_listed_changed_and_deleted(dac: Dac) -> None:
    for kind, field in (("team", "parent_team_id"), ("project", "team_id"), ("user", "email")):
        to = "u@example.com" if kind == "user" else made(dac, "team", "to")
        one = made(dac, kind, "made", **{field: to})
        path = f"/v1/{kind}s/{one}"
        renamed = ask(dac, "PATCH", path, name=f"renamed {one}").json()[kind]
        assert (renamed["name"], renamed[field]) == (f"renamed {one}", to), "what is left out stays"
        emptied = ask(dac, "PATCH", path, **{field: ""}).json()[kind]
        assert (emptied["name"], emptied.get(field)) == (f"renamed {one}", "")
        found, token = [], ""
        while True:
            page = dac.get(f"/v1/{kind}s?page_size=1&page_token={token}").json()
            found += page[f"{kind}s"]
            token = page["next_page_token"]
            if not token:
                break
        assert emptied in found and len({item[f"{kind}_id"] for item in found}) == len(found)
        assert ask(dac, "DELETE", path).status_code == 200
        assert ask(dac, "DELETE", path).status_code == 404
    for verb in ("PATCH", "DELETE"):
        assert ask(dac, verb, "/v1/users/me").status_code == 404, "me is nobody's id"


def test_a_key_is_placed_moved_and_its_records_stay_where_it_spent(dac: Dac, tree: dict[str, str]) -> None:
    key_id, token = new_key(dac, project_id=tree["project"], user_id=tree["user"])
    first = dac.record(chat(dac, token))
    assert kinds(first) == ["org", "team", "team", "project", "user", "key"]
    assert ids(first) == [tree["outer"], tree["inner"], tree["project"], tree["user"]]
    caller = ask(dac, "GET", "/v1/caller", key=token).json()
    assert caller["path"] == first["path"] and caller["key_id"] == key_id
    refused = ask(dac, "PATCH", f"/v1/keys/{key_id}", team_id=tree["beside"])
    assert refused.status_code == 400 and refused.json()["error"]["param"] == "project_id"
    moved = ask(dac, "PATCH", f"/v1/keys/{key_id}", team_id=tree["beside"], project_id="").json()["key"]
    assert (moved["team_id"], moved["project_id"], moved["user_id"]) == (tree["beside"], "", tree["user"])
    end = time.monotonic() + 1.0
    while True:
        began = time.monotonic()
        if ids(dac.record(chat(dac, token))) == [tree["beside"], tree["user"]]:
            break
        assert began < end, "the key still stands where it stood"
    assert dac.get(f"/v1/requests/{first['request_id']}").json()["request"]["path"] == first["path"]


@pytest.mark.parametrize("where", ["body", "header"])
def test_a_request_acts_for_a_project_below_its_team_and_for_no_other(
    dac: Dac, tree: dict[str, str], where: str
) -> None:
    _, token = new_key(dac, team_id=tree["outer"])

    def acting(team: str = "", project: str = "") -> httpx.Response:
        named = {name: value for name, value in (("team", team), ("project", project)) if value}
        if where == "header":
            return chat(dac, token, {f"x-dac-{name}": value for name, value in named.items()})
        return chat(dac, token, **{f"{name}_id": value for name, value in named.items()})

    for _ in range(2):
        answer = acting(project=tree["project"])
        assert answer.status_code == 200, answer.text
        assert ids(dac.record(answer)) == [tree["outer"], tree["inner"], tree["project"]]
    assert ids(dac.record(acting(team=tree["inner"]))) == [tree["outer"], tree["inner"]]
    assert ids(dac.record(acting(team=tree["outer"]))) == [tree["outer"]]
    for named, field in (
        ({"team": tree["beside"]}, "team_id"),
        ({"project": tree["foreign"]}, "project_id"),
        ({"team": uuid7()}, "team_id"),
        ({"project": uuid7()}, "project_id"),
    ):
        refused = acting(**named)
        assert refused.status_code == 403 and refused.json()["error"]["param"] == field
        record = dac.record(refused)
        assert record["reason"] == "ERROR_REASON_PERMISSION_DENIED" and ids(record) == [tree["outer"]]
    wrong = acting(team="research")
    assert wrong.status_code == 400 and wrong.json()["error"]["param"] == "team_id"
    assert chat(dac, dac.key, {"x-dac-project": tree["foreign"]}).status_code == 200, "an administrator may"


def test_what_says_whom_a_request_is_for_does_not_reach_the_provider(
    dac: Dac, tree: dict[str, str], upstream_process: UpstreamProcess
) -> None:
    headers = {"x-dac-tags": "a=mine-only", "x-dac-team": tree["inner"]}
    assert chat(dac, dac.key, headers, team_id=tree["inner"], project_id=tree["project"]).status_code == 200
    (seen,) = upstream_process.requests()
    told = json.dumps(seen).lower()
    assert "say hello." in told
    for part in ("x-dac-", "mine-only", tree["inner"], tree["project"], "team_id", "project_id"):
        assert part not in told


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/chat/completions", CHAT),
        ("/v1/messages", {**CHAT, "max_tokens": 20}),
        ("/v1/responses", {"model": "mock/gpt-4o-mini", "input": "Say hello."}),
        ("/v1/embeddings", {"model": "mock/embed", "input": "hello"}),
        ("/v1/audio/speech", {"model": "mock/tts", "voice": "alloy", "input": "Hello"}),
    ],
)
def test_tags_and_the_place_are_on_the_record_of_every_form(
    dac: Dac, tree: dict[str, str], path: str, body: dict[str, object]
) -> None:
    headers = {"x-dac-tags": "feature=search, env=prod=2", "x-dac-project": tree["project"]}
    answer = httpx.post(dac.url + path, json=body, headers={**dac.headers, **headers}, timeout=30)
    assert answer.status_code == 200, answer.text
    record = dac.record(answer)
    assert record["tags"] == {"feature": "search", "env": "prod=2"}
    assert ids(record) == [tree["outer"], tree["inner"], tree["project"]]
    for wrong in ("a", "A=1", "a=1,a=2", ",".join(f"k{number}=1" for number in range(9))):
        refused = httpx.post(dac.url + path, json=body, headers={**dac.headers, "x-dac-tags": wrong}, timeout=30)
        assert refused.status_code == 400 and "x-dac-tags" in refused.text
    refused = httpx.post(dac.url + path, json={}, headers={**dac.headers, "x-dac-tags": "a=1"}, timeout=30)
    assert refused.status_code == 400 and dac.record(refused)["tags"] == {"a": "1"}


def test_a_caller_by_grpc_acts_for_a_project_in_its_body(dac: Dac, tree: dict[str, str]) -> None:
    _, token = new_key(dac, team_id=tree["outer"])
    with grpc.insecure_channel(dac.grpc_address) as channel:
        stub = chat_pb2_grpc.ChatServiceStub(channel)

        def acting(project: str) -> list[chat_pb2.ChatResponse]:
            body = json.dumps({**CHAT, "project_id": project}).encode()
            metadata = (("authorization", f"Bearer {token}"),)
            return list(stub.Chat(chat_pb2.ChatRequest(openai_json=body), metadata=metadata))

        request_id = acting(tree["project"])[0].head.request_id
        end = time.monotonic() + 5
        while (found := dac.get(f"/v1/requests/{request_id}")).status_code != 200:
            assert time.monotonic() < end
            time.sleep(0.02)
        assert ids(found.json()["request"]) == [tree["outer"], tree["inner"], tree["project"]]
        with pytest.raises(grpc.RpcError) as caught:
            acting(tree["foreign"])
        assert caught.value.code() is grpc.StatusCode.PERMISSION_DENIED


def test_the_commands_make_move_and_delete(dac: Dac) -> None:
    mark = uuid7()[-6:]
    outer, inner, app, ann = f"outer-{mark}", f"inner-{mark}", f"app-{mark}", f"ann-{mark}"
    made_team = answered(run(dac, "team", "create", outer, "--json"))["team"]
    assert made_team["name"] == outer  # type: ignore[index]
    assert run(dac, "team", "create", inner, "--parent", outer).returncode == 0
    assert run(dac, "project", "create", app, "--team", inner).returncode == 0
    assert run(dac, "user", "create", ann, "--email", "ann@example.com").returncode == 0
    key = answered(run(dac, "key", "create", f"key-{mark}", "--project", app, "--user", ann, "--json"))["key"]
    key_id = key["key_id"]  # type: ignore[index]
    assert f"{outer}/{inner}" in run(dac, "team", "list").stdout
    assert f"{outer}/{inner}" in run(dac, "project", "list").stdout
    assert "ann@example.com" in run(dac, "user", "list").stdout
    assert f"{outer}/{inner}, {app}, {ann}" in run(dac, "key", "list").stdout
    moved = run(dac, "key", "move", key_id, "--no-project", "--team", outer, "--no-user", "--name", f"new-{mark}")
    assert moved.returncode == 0 and f"new-{mark}" in moved.stderr and f"in {outer}" in moved.stderr
    assert answered(run(dac, "user", "update", ann, "--email", "", "--json"))["user"]["email"] == ""  # type: ignore[index]
    assert run(dac, "team", "update", inner, "--no-parent").returncode == 0
    assert run(dac, "project", "update", app, "--no-team", "--name", f"{app}-2").returncode == 0
    refused = run(dac, "team", "delete", outer, "--yes")
    assert refused.returncode == 1 and f'key "new-{mark}"' in refused.stderr
    assert run(dac, "key", "revoke", key_id, "--yes").returncode == 0
    for kind, name in (("team", outer), ("team", inner), ("project", f"{app}-2"), ("user", ann)):
        assert run(dac, kind, "delete", name).returncode == 1, "nothing was confirmed"
        assert run(dac, kind, "delete", name, "--yes").returncode == 0
        assert f'no {kind} "{name}"' in run(dac, kind, "delete", name, "--yes").stderr
    for wrong in (
        ["key", "move", key_id],
        ["team", "update", "x"],
        ["key", "move", key_id, "--team", "x", "--no-team"],
    ):
        assert run(dac, *wrong).returncode == 2
