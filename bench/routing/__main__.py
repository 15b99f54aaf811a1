"""`python -m bench.routing --data DIR [--json] [--pretrained] [--pictures FOLDER]`: the choice of a model, measured.

Trains on what is in DIR and nothing else; the same twice. A set that is absent leaves its keys out.
"""

import argparse
import json
import math
import sys
import time
from pathlib import Path
from typing import Any

from bench.routing import latency, report, routellm, sets, ulab
from bench.routing import routerbench as routerbench_protocol
from bench.routing.train import train
from services.router.prompt.predictor import WEIGHTS, QualityPredictor
from services.router.prompt.quality_model import QualityModel

SEED = 5


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def measure(folder: Path, shipped: QualityModel | None, seed: int = SEED) -> dict[str, Any]:
    """All figures of the sets that are in the folder."""
    figures: dict[str, Any] = {}
    texts: tuple[str, ...] = ()
    if (results := sets.ulab(folder)) is not None:
        texts += results.texts
        figures["ulab"] = _timed("ulab", lambda: ulab.run(results, seed, shipped))
    if (costed := sets.routerbench(folder)) is not None:
        texts += costed.texts
        figures["routerbench"] = _timed("routerbench", lambda: routerbench_protocol.run(costed, seed, shipped))
    for benchmark in ("mmlu", "gsm8k"):
        if (pair := sets.routellm(folder, benchmark)) is not None:
            texts += pair.texts
            found = _timed(f"routellm {benchmark}", lambda pair=pair: routellm.run(pair, seed, shipped))
            part = figures.setdefault("routellm", {})
            part[f"{benchmark}_apgr"] = found["apgr"]
            part[benchmark] = found
    if not texts:
        raise SystemExit(f"no set of results in {folder}: see docs/benchmarks.md, Routing, for the files' names")
    if shipped is None and ("ulab" in figures or "routellm" in figures):
        shipped = _timed("weights for the latency", lambda: train(folder))
    if shipped is not None:
        figures["latency_ms"] = latency.run(QualityPredictor(shipped), texts, seed)
    return figures


def _timed(what: str, run: Any) -> Any:
    began = time.monotonic()
    found = run()
    _say(f"{what}: {time.monotonic() - began:.0f} s")
    return found


def _finite(value: Any) -> Any:
    """JSON knows no infinity: what is never reached is null."""
    if isinstance(value, dict):
        return {key: _finite(part) for key, part in value.items()}
    if isinstance(value, list):
        return [_finite(part) for part in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def main() -> None:
    """Measure, then print a table or JSON."""
    parser = argparse.ArgumentParser(prog="python -m bench.routing", description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder of the public sets")
    parser.add_argument("--json", action="store_true", help="one JSON value on stdout instead of tables")
    parser.add_argument("--pretrained", action="store_true", help="score the shipped weights; train nothing")
    parser.add_argument("--pictures", type=Path, help="also draw the curves as SVG into this folder")
    given = parser.parse_args()
    figures = measure(given.data, QualityModel.load(WEIGHTS) if given.pretrained else None)
    if given.pictures:
        from bench.routing import pictures  # matplotlib takes a second to load

        pictures.draw(figures, given.pictures)
    if given.json:
        print(json.dumps(_finite(figures), indent=1, allow_nan=False))
    else:
        report.show(figures)


if __name__ == "__main__":
    main()
