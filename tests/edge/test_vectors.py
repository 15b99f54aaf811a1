"""Collections of vectors over HTTP, by a real DAC: texts found by meaning, /health, the command line."""

import json
import pathlib
from collections.abc import Iterator

import httpx
import pytest

from tests.edge.conftest import Dac


@pytest.fixture(scope="module")
def client(dac: Dac) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=dac.url, headers={"authorization": f"Bearer {dac.key}"}, timeout=60) as client:
        yield client


def test_texts_are_found_by_meaning(client: httpx.Client) -> None:
    items = [
        {"id": "leave", "text": "You have 28 days of leave a year.", "metadata": {"lang": "en", "year": 2026}},
        {"id": "laptop", "text": "A new laptop is ordered from the service desk."},
    ]
    done = client.post("/vector/upsert", json={"collection": "handbook", "items": items})
    assert done.status_code == 200 and done.json() == {"ids": ["leave", "laptop"]}
    found = client.post("/vector/search", json={"collection": "handbook", "text": "how long may I go on vacation?"})
    hits = found.json()["hits"]
    assert [one["id"] for one in hits] == ["leave", "laptop"] and hits[0]["score"] > hits[1]["score"] + 0.2
    assert hits[0]["metadata"] == {"lang": "en", "year": 2026} and hits[0]["text"] == items[0]["text"]
    (one,) = client.get("/vector/collections").json()["collections"]
    assert (one["collection"], one["dimensions"], one["item_count"]) == ("handbook", 384, "2")
    assert one["embedder_id"] == "minilm-l6-int8:8199be6f" and one["takes_text"] is True
    ask = {"collection": "handbook", "text": "vacation", "filter": {"year": 2026}, "min_score": -1}
    assert [one["id"] for one in client.post("/vector/search", json=ask).json()["hits"]] == ["leave"]
    gone = client.post("/vector/delete", json={"collection": "handbook", "ids": ["leave"]})
    assert gone.json() == {"deleted": "1"}
    assert client.post("/vector/search", json=ask).json().get("hits", []) == []
    assert client.post("/vector/collections/handbook/reindex", json={}).status_code == 200
    assert client.delete("/vector/collections/handbook").status_code == 200
    assert client.get("/vector/collections/handbook").status_code == 404


def test_vectors_of_the_callers_own(client: httpx.Client) -> None:
    made = client.post("/vector/collections", json={"collection": "own", "dimensions": 3, "embedder_id": "mine"})
    assert made.status_code == 200 and made.json()["collection"].get("takes_text", False) is False
    body = {"collection": "own", "items": [{"id": "a", "vector": [2, 0, 0]}], "embedder_id": "mine"}
    assert client.post("/vector/upsert", json=body).status_code == 200
    wrong = client.post("/vector/search", json={"collection": "own", "vector": [1, 0]})
    assert wrong.status_code == 400 and "have 3" in wrong.json()["error"]["message"]
    other = client.post("/vector/upsert", json={**body, "embedder_id": "another"})
    assert other.status_code == 409 and "cannot be compared" in other.json()["error"]["message"]
    found = client.post("/vector/search", json={"collection": "own", "vector": [1, 0, 0]}).json()["hits"]
    assert [{"id": one["id"], "score": one["score"]} for one in found] == [{"id": "a", "score": 1}]


def test_health_says_what_embeds(dac: Dac, client: httpx.Client) -> None:
    memory = client.get("/health").json()["parts"]["memory"]
    assert memory["status"] == "up" and memory["vector_index"] == "postgres"
    assert memory["embedder"] == "minilm-l6-int8:8199be6f" and "all-MiniLM-L6-v2" in memory["detail"]


def test_doctor_names_the_model(dac: Dac, capsys: pytest.CaptureFixture[str], monkeypatch) -> None:
    from mesh.cli import doctor

    (check,) = doctor.check_embedder(None)
    assert check.ok and "all-MiniLM-L6-v2" in check.detail
    real = doctor.importlib.util.find_spec
    monkeypatch.setattr(doctor.importlib.util, "find_spec", lambda name: None if name == "onnxruntime" else real(name))
    (check,) = doctor.check_embedder(None)
    assert not check.ok and "find words, not meanings" in check.mend
    from mesh.cli.run import status

    state = {"pid": 1, "services": [{"name": "dac", "state": "up", "pid": 1, "target": "all"}]}
    folder = pathlib.Path(dac.data_dir).parent / "status"
    folder.mkdir()
    (folder / "state.json").write_text(json.dumps(state))
    with pytest.raises(doctor.typer.Exit):
        status(as_json=False, data_dir=folder)
    assert "find words, not meanings" in capsys.readouterr().err
