"""The resolver bench: what it counts, what it puts into the pool, and that it reads no answers."""

from __future__ import annotations

import gzip
import json
import pathlib
import subprocess
import sys
from typing import Any

import pytest

from bench.resolver.measure import GoldError, answer, cases_of, counted, read_gold
from bench.resolver.pool import hugging_face_ids, listed_by

MODELS: list[dict[str, str | None]] = [
    {"id": "acme/spruce-3-8b", "name": "Acme: Spruce 3 8B", "hugging_face_id": "acme/Spruce-3-8B"},
    {"id": "acme/spruce-3-8b:free", "name": "Acme: Spruce 3 8B (free)", "hugging_face_id": "acme/Spruce-3-8B"},
    {"id": "acme/larch", "name": "Acme: Larch", "hugging_face_id": "other/Unlike"},
    {"id": "acme/closed-1", "name": "Acme: Closed 1", "hugging_face_id": ""},
    {"id": "birch/birch-2-7b", "name": "Birch: 2 7B", "hugging_face_id": None},
]
GOLD = "openrouter_id,hugging_face_id\nacme/spruce-3-8b,acme/Spruce-3-8B\nacme/larch,other/Unlike\n"


@pytest.fixture
def folder(tmp_path: pathlib.Path) -> pathlib.Path:
    where = tmp_path / "catalog"
    where.mkdir()
    (where / "openrouter_models.json.gz").write_bytes(gzip.compress(json.dumps({"data": MODELS}).encode()))
    (where / "hf_board.csv").write_text("model_name,metadata_hub_license\nbirch/Birch-2-7B,mit\n")
    (where / "arena.csv").write_text("model,url\nFir,https://huggingface.co/acme/Fir-1B\n")
    (where / "prices.json").write_text(
        json.dumps([{"source": "https://huggingface.co/acme/Yew-1B"}, {"source": "https://huggingface.co/docs/hub"}])
    )
    (where / "gold_else.csv").write_text("name,hugging_face_id\nx,acme/Answer-1B\n")
    (where / "gold.csv").write_text(GOLD)
    return where


def run(folder: pathlib.Path, *more: str) -> dict[str, Any]:
    gold = str(folder / "gold.csv")
    command = [sys.executable, "-m", "bench.resolver", "--gold", gold, "--source", "openrouter"]
    done = subprocess.run([*command, "--catalog", str(folder), "--json", *more], capture_output=True, check=True)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_the_pool_holds_every_id_of_the_catalogues_and_no_answers(folder: pathlib.Path) -> None:
    assert hugging_face_ids(folder) == [
        "acme/Fir-1B",
        "acme/Spruce-3-8B",
        "acme/Yew-1B",
        "birch/Birch-2-7B",
        "other/Unlike",
    ]


def test_negatives_are_what_the_source_lists_without_a_repository(folder: pathlib.Path) -> None:
    gold = read_gold(folder / "gold.csv")
    cases = cases_of(gold, listed_by("openrouter", folder))
    # The free edition is labelled in the source and merely not in this gold: it is no negative.
    assert {one.name: one.wanted for one in cases} == {**gold, "acme/closed-1": "", "birch/birch-2-7b": ""}
    assert cases[0].also == ("Acme: Spruce 3 8B",)
    own = {**gold, "acme/closed-1": ""}
    assert {one.name for one in cases_of(own, listed_by("openrouter", folder))} == set(own)


def test_a_join_of_a_negative_counts_against_precision(folder: pathlib.Path) -> None:
    cases = cases_of(read_gold(folder / "gold.csv"), listed_by("openrouter", folder))
    got = counted(answer(cases, hugging_face_ids(folder), "openrouter"))
    # Spruce is right, Larch is missed, Birch 2 7B is joined although the source says nothing of it.
    assert (got["right"], got["wrong"], got["positives"], got["negatives"]) == (1, 1, 2, 2)
    assert (got["precision"], got["recall"], got["f1"]) == (0.5, 0.5, 0.5)


def test_the_keys_that_were_promised(folder: pathlib.Path) -> None:
    told = run(folder)
    assert {"precision", "recall", "f1"} <= set(told["resolver"])
    assert set(told["latency_ms"]) == {"p50", "p99"}
    assert told["resolver"]["pool_only_in_gold"] == 0
    assert sum(half["positives"] for half in told["resolver"]["halves"]) == told["resolver"]["positives"]


def test_the_joined_column_is_not_read_as_an_answer(folder: pathlib.Path) -> None:
    before = run(folder)
    turned = [
        {**one, "hugging_face_id": other["hugging_face_id"]} for one, other in zip(MODELS, MODELS[::-1], strict=True)
    ]
    turned += [{"id": f"z/{at}", "hugging_face_id": one["hugging_face_id"]} for at, one in enumerate(MODELS)]
    (folder / "openrouter_models.json.gz").write_bytes(gzip.compress(json.dumps({"data": turned}).encode()))
    (folder / "gold.csv").write_text(GOLD + "acme/closed-1,\nbirch/birch-2-7b,\n")
    after = run(folder)
    assert {**before, "latency_ms": 0} == {**after, "latency_ms": 0}


def test_ids_that_only_the_gold_has_are_counted_and_can_be_left_out(folder: pathlib.Path) -> None:
    (folder / "gold.csv").write_text("name,hugging_face_id\nacme/oak-2-9b,acme/Oak-2-9B\nacme/closed-1,\n")
    told = run(folder)["resolver"]
    assert (told["pool_only_in_gold"], told["recall"]) == (1, 1.0)
    assert run(folder, "--strict-pool")["resolver"]["recall"] == 0.0


def test_a_file_that_is_no_gold_is_refused(tmp_path: pathlib.Path) -> None:
    (tmp_path / "g.csv").write_text("hugging_face_id,name\na/b,c\n")
    with pytest.raises(GoldError, match="first column"):
        read_gold(tmp_path / "g.csv")


def test_a_file_that_cannot_be_read_is_named(folder: pathlib.Path) -> None:
    command = [sys.executable, "-m", "bench.resolver", "--gold", str(folder / "gold.csv"), "--source", "openrouter"]
    for name, content in (("broken.json", b"{"), ("broken.csv.gz", b"rubbish"), ("openrouter_2.json.gz", b"rubbish")):
        (folder / name).write_bytes(content)
        done = subprocess.run([*command, "--catalog", str(folder), "--json"], capture_output=True, text=True)
        assert done.returncode == 2 and not done.stdout
        assert name in done.stderr and "Traceback" not in done.stderr
        (folder / name).unlink()
    (folder / "gold.csv").write_text("openrouter_id,hugging_face_id\n")
    with pytest.raises(GoldError, match="no name"):
        read_gold(folder / "gold.csv")
