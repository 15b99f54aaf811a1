"""Kinds of providers from installed packages: loaded when a provider of that kind is configured, each once.

Whatever a plug-in does wrong becomes a ProviderFault that names it: at loading its provider is off, in a request that
attempt failed. DAC itself goes on.
"""

import contextlib
import logging
from collections.abc import Iterator
from typing import Any

from mesh.errors import Reason
from mesh.plugins import PROVIDERS, named
from mesh.sse import EventTooLarge
from services.provider.adapters import Exchange, Outgoing, Result, counted
from services.provider.adapters.framing import Framing, Splits
from services.provider.calling.events import Ask, UsageSource
from services.provider.errors import ProviderFault

_log = logging.getLogger("dac.provider.plugin_loading")


class BrokenPlugIn(Exception):
    """Why a kind cannot be had."""


_loaded: dict[str, Any] = {}
"""What loading came to, a BrokenPlugIn too: a module that failed is not imported again at every look."""


def load(kind: str, wanted: type) -> Any:
    """What the plug-in of that name offers. Raises BrokenPlugIn."""
    if kind not in _loaded:
        try:
            _loaded[kind] = _load(kind, wanted)
        except BrokenPlugIn as broken:
            _log.error("%s", broken, exc_info=broken.__cause__)
            _loaded[kind] = broken
    if isinstance(_loaded[kind], BrokenPlugIn):
        raise BrokenPlugIn(*_loaded[kind].args)
    return _loaded[kind]


def _load(kind: str, wanted: type) -> Any:
    found = named(PROVIDERS).get(kind)
    if found is None:
        raise BrokenPlugIn(f'no installed plug-in offers the kind "{kind}"')
    named_so = f'the plug-in {found.value} of the kind "{kind}"'
    try:
        made = found.load()
    except (KeyboardInterrupt, GeneratorExit):
        raise
    except BaseException as error:
        # SystemExit too: a module that wants to leave must not take DAC with it.
        raise BrokenPlugIn(f"{named_so} cannot be loaded ({_told(error)})") from error
    if not isinstance(made, wanted):
        what = f"a {type(made).__name__}, not a {wanted.__name__}"
        raise BrokenPlugIn(f"{named_so} is no kind of providers: it is {what}")
    return made


def _told(error: BaseException) -> str:
    """The error and its words: they are the plug-in's author's, before any request was seen."""
    return f"{type(error).__name__}: {error}"[:200]


@contextlib.contextmanager
def guarding(kind: str, provider: str, doing: str) -> Iterator[None]:
    """Around a plug-in's code: what it raises is a ProviderFault that names it, without words of the request."""
    try:
        yield
    except (ProviderFault, EventTooLarge):
        raise
    except Exception as error:
        raise _failed(kind, provider, doing, type(error).__name__) from None


def _failed(kind: str, provider: str, doing: str, what: str) -> ProviderFault:
    return ProviderFault(
        Reason.PROVIDER_FAILED, f'{provider}: the plug-in of the kind "{kind}" failed {doing} ({what}).'
    )


class _GuardedSplits:
    """A plug-in's splitter."""

    def __init__(self, inner: Splits, kind: str, provider: str) -> None:
        self._inner, self._kind, self._provider = inner, kind, provider

    def feed(self, chunk: bytes) -> list[bytes]:
        """See Splits."""
        with guarding(self._kind, self._provider, "to cut the stream into events"):
            return self._inner.feed(chunk)


class Guarded:
    """A plug-in's exchange."""

    def __init__(self, inner: Exchange, ask: Ask, kind: str, provider: str) -> None:
        self._inner, self._ask, self._kind, self._provider = inner, ask, kind, provider
        self._said_bytes = 0
        self.first = self.finished = self.done = False

    def outgoing(self) -> Outgoing:
        """See Exchange."""
        made = self._run("outgoing", "to make the request", Outgoing)
        framing: Framing = made.framing

        def splitter(max_event_bytes: int) -> Splits:
            with guarding(self._kind, self._provider, "to make a splitter"):
                return _GuardedSplits(framing.splitter(max_event_bytes), self._kind, self._provider)

        guarded = Framing(framing.content_type, splitter, framing.tail)
        return Outgoing(made.path, made.headers, made.body, guarded)

    def plain(self, raw: bytes) -> bytes:
        """See Exchange."""
        return self._bytes("plain", "to read the answer", raw)

    def event(self, event: bytes) -> bytes:
        """See Exchange."""
        return self._bytes("event", "to read an event", event)

    def end(self) -> bytes:
        """See Exchange."""
        return self._bytes("end", "to end the answer")

    def error_body(self, body: bytes) -> bytes:
        """See Exchange. The error itself is known: its words are left out when the plug-in cannot say them."""
        try:
            return self._bytes("error_body", "to read an error", body)
        except ProviderFault:
            return b""

    def result(self, *, need_text: bool) -> Result:
        """See Exchange. The answer is with the caller already: without the plug-in's count, DAC's stands."""
        try:
            made: Result = self._run("result", "to count", Result, need_text=need_text)
            return made
        except ProviderFault:
            return Result(counted(len(self._ask.input), self._said_bytes), UsageSource.COUNTED, "")

    def _bytes(self, name: str, doing: str, *given: bytes) -> bytes:
        made: bytes = self._run(name, doing, bytes, *given)
        self._said_bytes += len(made)
        return made

    def _run(self, name: str, doing: str, wanted: type, *given: Any, **named_: Any) -> Any:
        try:
            with guarding(self._kind, self._provider, doing):
                made = getattr(self._inner, name)(*given, **named_)
                self.first, self.finished = bool(self._inner.first), bool(self._inner.finished)
                self.done = bool(self._inner.done)
        finally:
            with contextlib.suppress(Exception):
                self.first = self.first or bool(self._inner.first)
        if not isinstance(made, wanted):
            raise _failed(self._kind, self._provider, doing, f"it gave a {type(made).__name__}, not {wanted.__name__}")
        return made
