"""python -m bench.day: a day of 10,000 requests, with and without routing.

Without --data it replays the figures that come with DAC: what the predictor expected of each model on each prompt, by
cross-validation, and how the models really did (ulab LLMRouter, MIT; RouteLLM, Apache-2.0). With --data all sets of a
folder are judged anew, RouterBench among them with the real cost of each call.
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from bench.day.judged import SHIPPABLE, SHIPPED, judge, save, shipped
from bench.day.prices import USD_PER_MTOK
from bench.day.replay import REQUESTS, run
from bench.day.shares import play, worded

SEED = 20261121
LEAST_SAVED, MOST_LOST, LEAST_NEAR = 0.4, 1.0, 0.85
"""The goals: of the cost of the best single model, exact cache included; points of quality; share of the requests."""


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m bench.day", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, help="a folder with the public result sets")
    parser.add_argument("--requests", type=int, default=REQUESTS)
    parser.add_argument("--seed", type=int, default=SEED)
    parser.add_argument("--questions", type=Path, help="question pairs (text_a, text_b, label): repeats in other words")
    parser.add_argument("--keep", action="store_true", help="with --data: also write the figures that come with DAC")
    parser.add_argument("--json", action="store_true", help="one JSON value on standard output")
    chosen = parser.parse_args()
    if chosen.data is None:
        sets = shipped()
    else:
        print("judging every prompt by a predictor that was not trained on it …", file=sys.stderr)
        sets = judge(chosen.data, chosen.seed)
        if not sets:
            raise SystemExit(
                f"no set of results in {chosen.data}: see docs/benchmarks.md, Routing, for the files' names"
            )
        if chosen.keep:
            save([one for one in sets if one.name in SHIPPABLE], SHIPPED)
    shares: dict[str, Any] = {"word_for_word": play(chosen.requests, chosen.seed)}
    if chosen.questions is not None:
        print("asking memory, as it ships, with repeats in other words …", file=sys.stderr)
        shares["half_in_other_words"] = worded(chosen.questions, min(chosen.requests, 2_000), chosen.seed)
    replayed = run(sets, chosen.seed, chosen.requests)
    day = {"day": {**replayed, "price_list": len(USD_PER_MTOK), "shares": shares}}
    print(json.dumps(day, indent=2)) if chosen.json else _show(day["day"])


def _show(day: dict[str, Any]) -> None:
    print(
        f"{day['requests']:,} requests, {day['distinct']:,} distinct ({day['repeated']:.0%} asked before); "
        f"{day['models']} models with results, a price list of {day['price_list']}\n"
    )
    print(f"{'':28}{'cost $':>10}{'saved':>9}{'quality':>10}")
    for name, way in day["ways"].items():
        label = name.replace("_", " ").replace("routing and", "routing +").replace("best single", "always best single")
        print(f"{label:28}{way['cost_usd']:>10.2f}{way['saved']:>9.1%}{100 * way['quality']:>10.2f}")
    print(
        f"\nrouting loses {day['points_lost']:.2f} points; its choice is within a point of the best single model's "
        f"on {day['near_best']:.1%} of the requests, and another model on {day['routed_elsewhere']:.1%}\n"
    )
    for what, met in (
        (f"goal: {LEAST_SAVED:.0%} saved in all", day["saved_in_all"] >= LEAST_SAVED),
        (f"goal: at most {MOST_LOST:g} point lost", day["points_lost"] <= MOST_LOST),
        (f"goal: {LEAST_NEAR:.0%} of the choices within a point of the best", day["near_best"] >= LEAST_NEAR),
    ):
        print(f"{what}: {'met' if met else 'missed'}")
    print(f"\n{'set':14}{'prompts':>9}{'saved':>9}{'quality':>10}{'best single':>13}")
    for name, one in day["sets"].items():
        print(
            f"{name:14}{one['prompts']:>9,}{one['saved']:>9.1%}"
            f"{100 * one['quality']:>10.2f}{100 * one['best_single']:>13.2f}"
        )
    _show_shares(day["shares"])


def _show_shares(shares: dict[str, Any]) -> None:
    for name, rows in shares.items():
        print(f"\n{'repeats ' + name.replace('_', ' '):34}{'exact':>9}{'semantic':>10}{'coalesced':>11}{'calls':>9}")
        for row in rows:
            coalesced = f"{row['coalescing']:>11.1%}" if "coalescing" in row else f"{'–':>11}"
            label = f"{row['repeat_rate']:.0%}"
            print(f"{label:34}{row['exact_cache']:>9.1%}{row['semantic_cache']:>10.1%}{coalesced}{row['calls']:>9.1%}")
            if row.get("other_question"):
                print(f"{'':34}of which {row['other_question']:.2%} got the answer of a question from another pair")


if __name__ == "__main__":
    main()
