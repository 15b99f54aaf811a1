"""What another process of the data folder fetched is taken over while it is new and fresh, and only then."""

import pathlib

from services.router.sources import SourceRecord, last_good
from services.router.sources.kept import Kept

RECORD = SourceRecord("openrouter", "acme/large")


def kept_in(folder: pathlib.Path, now_s: float) -> Kept:
    made = Kept(folder, folder / "none", ("openrouter",), (), lambda: now_s)
    made.survey()
    return made


def test_a_fresh_answer_of_another_process_is_taken_over_once(tmp_path: pathlib.Path) -> None:
    kept = kept_in(tmp_path, 1000.0)
    assert not kept.adopt("openrouter", 60.0)
    last_good.write(tmp_path, last_good.Copy("openrouter", 950.0, [RECORD]))
    before = kept.generation
    assert kept.adopt("openrouter", 60.0) and kept.generation > before
    assert kept.status("openrouter").rows == 1 and kept.status("openrouter").age_s == 50.0
    assert not kept.adopt("openrouter", 60.0)


def test_an_old_answer_or_a_harmed_one_is_not(tmp_path: pathlib.Path) -> None:
    kept = kept_in(tmp_path, 1000.0)
    last_good.write(tmp_path, last_good.Copy("openrouter", 930.0, [RECORD]))
    assert not kept.adopt("openrouter", 60.0) and kept.adopt("openrouter", 90.0)
    last_good.write(tmp_path, last_good.Copy("openrouter", 990.0, [RECORD]))
    path = last_good.path_of(tmp_path, "openrouter")
    path.write_bytes(path.read_bytes()[:-5])
    assert not kept.adopt("openrouter", 60.0)


def test_what_was_known_at_the_start_is_not_news(tmp_path: pathlib.Path) -> None:
    last_good.write(tmp_path, last_good.Copy("openrouter", 990.0, [RECORD]))
    kept = kept_in(tmp_path, 1000.0)
    assert kept.status("openrouter").rows == 1 and not kept.adopt("openrouter", 60.0)
