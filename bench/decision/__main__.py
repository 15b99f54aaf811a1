"""`python -m bench.decision [--json]`: p50, p99 and CPU time of a whole decision among 5, 50 and 200 models."""

import argparse
import gc
import itertools
import json
import random
import sys
import time
from typing import Any

from dac.router.v1 import router_pb2
from dac.type.v1.principal_pb2 import Principal
from mesh.call import Call, serving
from mesh.catalog import ModelEntry, ProviderEntry
from mesh.model_prices import PriceEntry
from services.router.catalog.followers import LiveCatalog
from services.router.config import RouterConfig
from services.router.deciding.breakers import Breakers
from services.router.deciding.decision import Decider
from services.router.deciding.latency import Speeds
from services.router.learning.learning import Learned
from services.router.prompt.predictor import QualityPredictor
from services.router.router_server import RouterServicer

CANDIDATES = (5, 50, 200)
PROVIDERS = tuple("abcdefgh")
WORDS = 12, 60, 250, 1000
"""Lengths of the prompts; most requests of a day lie below the last."""
KINDS = {"with_prompt": "read", "prompt_again": "again", "without_prompt": "none"}
"""Kinds of decisions: the prompt is met for the first time, was met before (an agent's next step), is not there."""
WARM_UP = 400
SENTENCES = (
    "Write a function that merges two sorted lists and tell me its complexity.",
    "What is the capital of the country that won the last world championship?",
    "Please make this letter sound friendlier without changing what it says.",
    "A train leaves at noon with 80 km/h; when does the one behind it, with 120 km/h, catch up?",
    "Hello, how was your day? Mine was long, and I would like to talk a little.",
)


def prompt(words: int, chance: random.Random) -> str:
    """A prompt of about so many words."""
    said: list[str] = []
    while len(said) < words:
        said += chance.choice(SENTENCES).split()
    return " ".join(said[:words])


def house(candidates: int) -> RouterServicer:
    """A router with so many models, everything in it switched on: live figures, learning, a policy that explores."""
    chance = random.Random(candidates)
    models = []
    for number in range(candidates):
        provider = PROVIDERS[number % len(PROVIDERS)]
        usd = round(10 ** chance.uniform(-1.3, 1.5) * 1_000_000_000)
        models.append(
            ModelEntry(
                model=f"{provider}/model-{number}",
                provider=provider,
                name=f"model-{number}",
                context_tokens=chance.choice((32_000, 128_000, 1_000_000)),
                quality=round(chance.uniform(0.4, 0.97), 3),
                speed_tokens_per_s=chance.uniform(20, 200),
                first_token_ms=chance.uniform(200, 1500),
                capabilities=tuple(chance.sample(("tools", "images", "json"), 2)),
                price=PriceEntry(False, {"input": usd, "output": 4 * usd}),
            )
        )
    config, speeds = RouterConfig(), Speeds(time.monotonic)
    catalog = LiveCatalog(
        models, [ProviderEntry(name, "openai", "http://x") for name in PROVIDERS], config, time.monotonic
    )
    breakers = Breakers(time.monotonic)
    for one, _ in itertools.product(models[::3], range(20)):
        speeds.observe(
            one.model, one.provider, first_token_ms=chance.uniform(200, 900), total_ms=3000, output_tokens=200
        )
    decider = Decider(config, breakers, speeds, Learned(), QualityPredictor.load())
    return RouterServicer(catalog, breakers, config, decider=decider, speeds=speeds)


def requests(count: int, *, with_prompt: bool) -> list[router_pb2.RouteRequest]:
    """So many requests; no two prompts are the same."""
    chance = random.Random(7)
    return [
        router_pb2.RouteRequest(
            model="auto",
            input_tokens=words * 4 // 3,
            prompt=f"{prompt(words - 1, chance)} {number}" if with_prompt else "",
            turns=1,
            request_id=str(number),
            needs_json=number % 4 == 0,
        )
        for number, words in enumerate(itertools.islice(itertools.cycle(WORDS), count))
    ]


def measure(candidates: int, rounds: int, kind: str) -> dict[str, float]:
    """p50 and p99 in milliseconds, and CPU-milliseconds each, of `rounds` decisions of one of `KINDS`."""
    router, caller = house(candidates), Principal(org_id="o")
    again = kind == "prompt_again"
    asked = requests(WARM_UP + (0 if again else rounds), with_prompt=kind != "without_prompt")
    for request in asked[:WARM_UP]:
        router.route(request, caller)
    measured = asked[:WARM_UP] if again else asked[WARM_UP:]
    gc.collect()
    gc.freeze()
    took = []
    cpu = time.process_time()
    for request in itertools.islice(itertools.cycle(measured), rounds):
        began = time.perf_counter()
        router.route(request, caller)
        took.append(time.perf_counter() - began)
    cpu = time.process_time() - cpu
    gc.unfreeze()
    took.sort()
    return {
        "p50": round(took[rounds // 2] * 1e3, 4),
        "p99": round(took[rounds * 99 // 100] * 1e3, 4),
        "cpu_ms": round(cpu / rounds * 1e3, 4),
    }


def main() -> None:
    """Measures all and prints a table, or one JSON value."""
    parser = argparse.ArgumentParser(prog="python -m bench.decision", description=__doc__)
    parser.add_argument("--json", action="store_true", help="one JSON value on standard output")
    parser.add_argument("--rounds", type=int, default=5000, help="decisions of each kind (5000)")
    asked = parser.parse_args()
    found: dict[str, Any] = {"rounds": asked.rounds, **{kind: {} for kind in KINDS}}
    with serving(Call(request_id="bench", principal=Principal(org_id="o"))):
        for candidates in CANDIDATES:
            for kind in KINDS:
                print(f"{candidates} models, {kind.replace('_', ' ')} …", file=sys.stderr, flush=True)
                found[kind][str(candidates)] = measure(candidates, asked.rounds, kind)
    found["latency_ms"] = {name: found["with_prompt"]["50"][name] for name in ("p50", "p99")}
    if asked.json:
        print(json.dumps(found))
        return
    print(f"{'models':>7} {'prompt':>7} {'p50 ms':>8} {'p99 ms':>8} {'CPU-ms':>8}")
    for candidates in CANDIDATES:
        for kind, word in KINDS.items():
            row = found[kind][str(candidates)]
            print(f"{candidates:>7} {word:>7} {row['p50']:>8.3f} {row['p99']:>8.3f} {row['cpu_ms']:>8.3f}")


if __name__ == "__main__":
    main()
