"""A plug-in's mistakes in a request: each is a fault that names it, and what it cannot count DAC counts."""

from typing import Any

import pytest

from mesh.errors import Reason
from services.provider.calling.events import Ask, Candidate, UsageSource
from services.provider.errors import ProviderFault, garbage
from services.provider.kinds import Account, exchange_of
from services.provider.plugin import NDJSON, Framing, Outgoing, Result, Usage
from services.provider.plugin_loading import Guarded

ASK = Ask(b'{"messages":[]}', [])


class Good:
    first = finished = done = False

    def outgoing(self) -> Outgoing:
        return Outgoing("/x", {}, b"{}", NDJSON)

    def plain(self, raw: bytes) -> bytes:
        self.first = self.finished = True
        return raw

    event = plain
    error_body = plain

    def end(self) -> bytes:
        return b""

    def result(self, *, need_text: bool) -> Result:
        return Result(Usage(1), UsageSource.PROVIDER, "stop")


def guarded(**methods: Any) -> Guarded:
    made = Good()
    for name, method in methods.items():
        setattr(made, name, method)
    return Guarded(made, ASK, "mine", "p")


def fail(*_: Any, **__: Any) -> Any:
    raise OSError("the prompt's words")


def test_a_good_one_is_passed_through() -> None:
    made = guarded()
    assert made.outgoing().framing.splitter(9).feed(b"{}\n") == [b"{}"]
    assert made.plain(b"x") == b"x" and made.first and made.finished and not made.done
    assert made.result(need_text=False).usage == Usage(1)


@pytest.mark.parametrize("wrong", [fail, lambda *_: None, lambda *_: "text"])
@pytest.mark.parametrize("name", ["outgoing", "plain", "event", "end"])
def test_what_a_plug_in_does_wrong_is_named(name: str, wrong: Any) -> None:
    made = guarded(**{name: wrong})
    with pytest.raises(ProviderFault, match='kind "mine"') as caught:
        getattr(made, name)(*([] if name in ("outgoing", "end") else [b"x"]))
    assert caught.value.reason is Reason.PROVIDER_FAILED and "words" not in caught.value.message


def test_its_own_faults_are_kept() -> None:
    def say(_: bytes) -> bytes:
        raise garbage("p", "so it is")

    with pytest.raises(ProviderFault, match="so it is"):
        guarded(plain=say).plain(b"")


@pytest.mark.parametrize("wrong", [fail, lambda **_: None])
def test_without_its_count_dacs_own_stands(wrong: Any) -> None:
    made = guarded(result=wrong)
    made.plain(b"x" * 400)
    got = made.result(need_text=True)
    assert got.usage_source is UsageSource.COUNTED and got.usage.output_tokens > 50
    assert guarded(error_body=fail).error_body(b"x") == b""


def test_a_splitter_that_fails_is_named() -> None:
    class Splits:
        feed = staticmethod(fail)

    for splitter in (fail, lambda _: Splits()):
        framing = Framing("application/x", splitter)
        out = guarded(outgoing=lambda framing=framing: Outgoing("/", {}, b"", framing)).outgoing()
        with pytest.raises(ProviderFault, match='kind "mine"'):
            out.framing.splitter(9).feed(b"x")


def test_a_kind_that_nobody_offers_is_not_configured() -> None:
    with pytest.raises(ProviderFault, match="no installed plug-in"):
        exchange_of(ASK, Candidate("m", "p", "x"), Account("p", "nobodys"))
