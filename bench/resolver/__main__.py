"""Entity resolution against known pairs: `python -m bench.resolver --gold FILE --source openrouter --catalog DIR`.

The method is in bench/README.md.
"""

from __future__ import annotations

import argparse
import json
import pathlib
import sys

from bench.resolver.measure import Answer, GoldError, answer, cases_of, figures, read_gold
from bench.resolver.pool import CatalogError, hugging_face_ids, listed_by


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.resolver", description=__doc__)
    parser.add_argument("--gold", type=pathlib.Path, required=True, help="CSV: names first, column hugging_face_id")
    parser.add_argument("--source", choices=("openrouter", "lmarena"), required=True)
    parser.add_argument("--catalog", type=pathlib.Path, required=True, help="folder of catalogues with the ids")
    parser.add_argument("--sellers", action="store_true", help="put what models.dev sells there into the pool, too")
    parser.add_argument("--strict-pool", action="store_true", help="leave ids out that only the gold file has")
    parser.add_argument("--json", action="store_true", help="one JSON value on stdout")
    return parser.parse_args()


def _told(one: Answer) -> str:
    wanted = one.case.wanted or "none"
    got = f"{one.match.candidate} ({one.match.rule})" if one.match.candidate else "unknown"
    return f"{one.case.name}: {got}, not {wanted}: {one.match.explanation}"


def main() -> int:
    """Runs the measurement; ends with 2 when the files cannot be used."""
    options = _options()
    try:
        gold = read_gold(options.gold)
        pool = set(hugging_face_ids(options.catalog, sellers=options.sellers))
        listed = listed_by(options.source, options.catalog)
    except (GoldError, CatalogError, OSError, UnicodeDecodeError) as error:
        print(error, file=sys.stderr)
        return 2
    known = {one.lower() for one in pool}
    missing = {wanted for wanted in gold.values() if wanted and wanted.lower() not in known}
    if not options.strict_pool:
        pool |= missing
    cases = cases_of(gold, listed)
    answers = answer(cases, sorted(pool), options.source)
    told = figures(answers, len(pool), len(missing))
    if options.json:
        print(json.dumps(told))
        return 0
    for one in answers:
        if not one.right:
            print(_told(one), file=sys.stderr)
    print(json.dumps(told, indent=2))
    return 0


if __name__ == "__main__":
    sys.exit(main())
