"""Models that their providers retire: known by their day, left out by auto from that day on, and still to be named."""

import datetime as dt

import pytest

from mesh.catalog import ModelEntry, parse_model
from mesh.config import ConfigError
from mesh.errors import MeshError, Reason
from services.router.catalog.catalog import CatalogView, ProviderView, build_view
from services.router.catalog.followers import LiveCatalog
from services.router.catalog.listing import ModelFilter
from services.router.catalog.ranking import ranked
from services.router.config import RouterConfig
from tests.unit.router.test_decision import entry, ids, run

DAY = dt.date(2026, 11, 30)
BEFORE = DAY - dt.timedelta(days=1)
PROVIDERS = {"a": ProviderView("a", True)}


def models(*, newer: bool = True) -> list[ModelEntry]:
    """The best model goes on DAY; another one stays."""
    stays = [entry("a/stays", quality=0.3)] if newer else []
    return [entry("a/goes", quality=0.9, retires_on=DAY), *stays]


def view(today: dt.date | None, *, newer: bool = True) -> CatalogView:
    return build_view(models(newer=newer), PROVIDERS, {}, today=today)


def chosen(seen: CatalogView, model: str = "auto:quality") -> list[str]:
    return ids(run(seen, model=model))


@pytest.mark.parametrize("today", [None, BEFORE])
def test_until_its_day_a_model_is_chosen(today: dt.date | None) -> None:
    assert chosen(view(today)) == ["a/goes"]
    assert view(today).retired == ()


@pytest.mark.parametrize("today", [DAY, DAY + dt.timedelta(days=90)])
def test_from_its_day_on_a_model_is_left_out_and_can_be_named(today: dt.date) -> None:
    seen = view(today)
    assert chosen(seen) == ["a/stays"]
    assert chosen(seen, "a/goes") == ["a/goes"]
    assert [one.id for one in seen.retired] == ["a/goes"]
    assert [one.model.id for one in ranked(seen, "quality", "", ModelFilter(), set())] == ["a/stays"]


def test_when_all_are_retired_the_refusal_says_so() -> None:
    with pytest.raises(MeshError, match=r"a/goes.*describe a newer one") as refusal:
        chosen(view(DAY, newer=False))
    assert refusal.value.reason is Reason.NO_MODEL_AVAILABLE


def test_a_running_router_turns_the_day_once() -> None:
    today = [BEFORE]
    catalog = LiveCatalog(models(), [], RouterConfig(), lambda: 0.0, lambda: today[0])
    catalog.hear_providers(PROVIDERS.values())
    built = list[CatalogView]()
    catalog.on_change = built.append
    catalog.turn_day()
    assert not built and not catalog.view.retired
    today[0] = DAY
    catalog.turn_day()
    assert [one.id for one in catalog.view.retired] == ["a/goes"]
    today[0] = DAY + dt.timedelta(days=1)
    catalog.turn_day()
    assert len(built) == 1


@pytest.mark.parametrize("written", ["2026-11-30", DAY])
def test_a_day_is_written_in_yaml_or_as_text(written: object) -> None:
    raw = {"id": "a/goes", "provider": "a", "context_tokens": 1000, "retires_on": written}
    assert parse_model(raw, "models[0]", "config").retires_on == DAY


@pytest.mark.parametrize("written", ["soon", 20261130, dt.datetime(2026, 11, 30), "2026-11-31"])
def test_what_is_no_day_is_refused(written: object) -> None:
    raw = {"id": "a/goes", "provider": "a", "context_tokens": 1000, "retires_on": written}
    with pytest.raises(ConfigError, match=r"models\[0\].retires_on: .* is no day like 2027-01-31"):
        parse_model(raw, "models[0]", "config")
