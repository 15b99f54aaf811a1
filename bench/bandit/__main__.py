"""Learning online, replayed: `python -m bench.bandit --data DIR [--json]`.

The method, and what each figure means, is in bench/README.md.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import pathlib
import sys
import time
from typing import Any

import numpy as np

from bench.bandit import measures, ours, rivals
from bench.bandit.priors import priors_of
from bench.bandit.report import show
from bench.bandit.sets import FILES, Matrix, read
from services.router.learning.learning import Learned, LearningRules, seed_of

COST_PER_USD = 20.0
SEEDS = 20
CANDIDATES = 50


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def table(matrix: Matrix, seeds: int, cost_per_usd: float = 0.0) -> dict[str, Any]:
    """Every policy on one set."""
    orders = measures.orders_of(len(matrix.scores), seeds)
    rewards = matrix.scores - cost_per_usd * matrix.cost_usd
    clipped = np.clip(rewards, 0.0, 1.0)
    priors = np.array(priors_of(matrix.models))
    picks = {
        "random": rivals.pick_random,
        "epsilon 0.1": rivals.pick_greedy(0.1),
        "UCB1": rivals.pick_ucb1,
        "Beta-TS, no priors": rivals.pick_thompson(),
        "Beta-TS, priors": rivals.pick_thompson(priors, 10.0),
    }
    rows = {
        name: measures.regret(clipped, orders, rivals.replay(clipped, orders, pick)) for name, pick in picks.items()
    }
    rules = LearningRules(cost_per_usd=cost_per_usd)
    told = ours.Play(priors.tolist(), rules)
    plays = {
        "ours, one intent": dataclasses.replace(told, per_intent=False),
        f"ours, per {matrix.intents_from} intent": told,
        "ours, no priors": dataclasses.replace(told, priors=[0.5] * len(matrix.models)),
    }
    for name, play in plays.items():
        played = ours.replay(matrix, orders, play)
        rows[name] = measures.regret(clipped, orders, played.chosen) | {
            "explored": round(float(played.explored.mean()), 4)
        }
    by_intent = [clipped[matrix.intents == one].max(axis=1).size for one in range(len(matrix.intent_names))]
    per_intent = sum(
        clipped[matrix.intents == one].mean(axis=0).max() * count for one, count in enumerate(by_intent) if count
    ) / len(clipped)
    return {
        "prompts": len(clipped),
        "models": len(matrix.models),
        "best_fixed": round(float(clipped.mean(axis=0).max()), 4),
        "best_per_intent": round(float(per_intent), 4),
        "oracle": round(float(clipped.max(axis=1).mean()), 4),
        "policies": rows,
    }


def newcomer(matrix: Matrix, seeds: int) -> dict[str, Any]:
    """The best model arrives at half-time: known to the catalog, or expected to be like the mean of the others."""
    orders = measures.orders_of(len(matrix.scores), seeds)
    priors = priors_of(matrix.models)
    others = [prior for arm, prior in enumerate(priors) if arm != matrix.best]
    untold = [float(np.mean(others)) if arm == matrix.best else prior for arm, prior in enumerate(priors)]
    found = {}
    for name, told in (("catalog", priors), ("untold", untold)):
        for per_intent in (True, False):
            play = ours.Play(told, arrives=matrix.best, per_intent=per_intent)
            chosen = ours.replay(matrix, orders, play).chosen
            key = name if per_intent else f"{name}_one_intent"
            found[key] = measures.adoption(chosen, matrix.best, orders.shape[1] // 2)
    return found


def drift(matrix: Matrix, seeds: int) -> dict[str, Any]:
    """The best and the worst model change places at half-time: decisions until the new best has the majority."""
    orders = measures.orders_of(len(matrix.scores), seeds)
    worst = int(matrix.scores.mean(axis=0).argmin())
    swapped = matrix.scores.copy()
    swapped[:, [matrix.best, worst]] = swapped[:, [worst, matrix.best]]
    half = orders.shape[1] // 2
    found = {}
    for name, discount, watched in (
        ("nothing fades", 1.0, False),
        ("fading alone", LearningRules().discount, False),
        ("quick fading alone", 0.995, False),
        ("ours", LearningRules().discount, True),
    ):
        play = ours.Play(
            priors_of(matrix.models),
            LearningRules(discount=discount),
            per_intent=False,
            watched=watched,
            swapped=(matrix.best, worst),
        )
        chosen = ours.replay(matrix, orders, play).chosen
        after = measures.regret(swapped, orders[:, half:], chosen[:, half:])
        found[name] = measures.adoption(chosen, worst, half) | {"regret_after": after["regret"]["100"]}
    return found


def microseconds() -> dict[str, float]:
    """What one decision pays for learning, with 50 candidates: without a departure in reach, and with a draw."""
    models = [f"provider/model-{number}" for number in range(CANDIDATES)]
    priors = np.random.default_rng(0).uniform(0.3, 0.9, CANDIDATES).tolist()
    found = {}
    for name, share in (("mean", 0.0), ("draw", 1.0)):
        learned = Learned()
        took = []
        for number in range(3000):
            seed = seed_of(str(number))
            began = time.perf_counter()
            learned.adjust("org", "coding_help", models, priors, seed, share)
            took.append(time.perf_counter() - began)
        found[name] = round(float(np.median(took[500:])) * 1e6, 1)
    return found


def run(folder: pathlib.Path, seeds: int, limit: int = 0) -> dict[str, Any]:
    """All figures that the files in the folder allow. Raises SystemExit when there is none of them."""
    sets = {name: read(folder, name, limit) for name, (file, _) in FILES.items() if (folder / file).exists()}
    if not sets:
        raise SystemExit(f"{folder} holds neither {' nor '.join(file for file, _ in FILES.values())}")
    intents_from = next(iter(sets.values())).intents_from
    _say(f"intents: {intents_from}")
    tables: dict[str, Any] = {}
    for name, source, cost in (
        ("routerbench", "routerbench", 0.0),
        ("routerbench_cost", "routerbench", COST_PER_USD),
        ("ulab", "ulab", 0.0),
    ):
        if source not in sets:
            _say(f"{name}: left out, {FILES[source][0]} is not there")
            continue
        matrix = sets[source]
        _say(f"{name}: {len(matrix.scores)} prompts × {len(matrix.models)} models, {seeds} seeds")
        tables[name] = table(matrix, seeds, cost)
    found: dict[str, Any] = {}
    if "routerbench" in sets:
        _say("a model that arrives at half-time")
        adopted = newcomer(sets["routerbench"], seeds)
        _say("two models that change places at half-time")
        found = {
            "regret": tables["routerbench"]["policies"]["ours, one intent"]["regret"]["100"],
            "adopt_rounds": adopted["catalog"]["mean"],
            "adopt": adopted,
            "drift": drift(sets["routerbench"], seeds),
        }
    shared = {"microseconds": microseconds(), "intents_from": intents_from, "seeds": seeds, "sets": tables}
    return {"bandit": found | shared}


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m bench.bandit", description=__doc__)
    parser.add_argument("--data", type=pathlib.Path, required=True, help="folder with the data sets")
    parser.add_argument("--json", action="store_true", help="one JSON value on stdout instead of the tables")
    parser.add_argument("--pictures", type=pathlib.Path, help="folder for the regret curves")
    parser.add_argument("--seeds", type=int, default=SEEDS)
    parser.add_argument("--limit", type=int, default=0, help="about so many prompts of each set: for a quick look")
    given = parser.parse_args()
    if given.seeds < 1:
        parser.error(f"--seeds must be at least 1, not {given.seeds}")
    found = run(given.data, given.seeds, given.limit)
    if given.pictures:
        from bench.bandit.pictures import draw

        draw(found["bandit"], given.pictures)
    if given.json:
        print(json.dumps(found))
    else:
        show(found["bandit"])


if __name__ == "__main__":
    main()
