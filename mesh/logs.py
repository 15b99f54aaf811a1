"""Logs: one line an event, JSON or text, with request, organisation and trace id of the call being served.

Whatever is logged in the process takes this way: DAC's own loggers, uvicorn's, asyncio's, grpc's, warnings, and
exceptions that nobody caught. Frames are told without their local variables, and what looks like a secret is struck
out of the finished line.
"""

import functools
import logging
import re
import sys
import threading
from collections.abc import MutableMapping
from types import TracebackType
from typing import Any

import structlog

from mesh.call import current
from mesh.mail_addresses import emails
from mesh.secret_shapes import Tries, keys, passwords, private_keys, tokens

STRUCK = "***"
CHATTY = ("uvicorn.access", "uvicorn.error", "aiohttp.access", "asyncio")
"""Loggers of which only warnings and worse are kept."""
FOREIGN = ("uvicorn", *CHATTY, "grpc", "grpc._cython.cygrpc", "py.warnings")
"""Loggers that might have brought handlers of their own."""
_SECRETS = re.compile(
    r"""
      \bdac_[a-z]+_[A-Za-z0-9]{12}_[A-Za-z0-9]{20,}                  # DAC's own keys
    | \b(?:sk|pk|rk|xai|gsk|hf)[-_][A-Za-z0-9_\-]{16,}               # providers' keys
    | (?<=[Bb]earer\ )[^\s"'\\]{8,}                                  # authorization headers
    | (?<=://)[^\s/:@"'\\]*:[^\s/@"'\\]+(?=@)                        # user:password in addresses
    """,
    re.VERBOSE,
)

# Within a line of JSON a value ends at its quotation mark.
_FINDERS = (functools.partial(private_keys, until=b'"'), tokens, keys, passwords, emails)


def _with_call(_: Any, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    call = current()
    if call.request_id:
        event["request_id"] = call.request_id
    if call.principal is not None and call.principal.org_id:
        event["org_id"] = call.principal.org_id
    if call.trace_id:
        event["trace_id"] = call.trace_id
    return event


def strike(text: str) -> str:
    """The text with everything that looks like a secret or an e-mail address struck out; JSON stays JSON."""
    text = _SECRETS.sub(STRUCK, text)
    data = text.encode("utf-8", "replace")
    tries = Tries()
    found = [(start, end) for finder in _FINDERS for _, start, end in finder(data, tries)]
    if not found:
        return text
    parts, at = [], 0
    for found_start, found_end in sorted(found):
        # No escape is cut: a backslash belongs to what stands behind it.
        start = _before_escape(data, found_start)
        end = start + len(data[start:found_end].rstrip(b"\\"))
        if start >= at:
            parts += [data[at:start], STRUCK.encode()]
        at = max(at, end)
    return b"".join([*parts, data[at:]]).decode("utf-8", "replace")


def _before_escape(data: bytes, start: int) -> int:
    """`start`, or where the escape begins in whose midst it is."""
    at = data.rfind(b"\\", max(0, start - 5), start)
    if at < 0:
        return start
    before = at
    while before > 0 and data[before - 1 : before] == b"\\":
        before -= 1
    length = 6 if data[at + 1 : at + 2] == b"u" else 2
    return at if (at - before) % 2 == 0 and at + length > start else start


def _struck(_: Any, __: str, line: Any) -> str:
    return strike(line)


def formatter(*, as_json: bool, colors: bool = False, service: str = "") -> logging.Formatter:
    """Makes a line of a log record."""

    def with_service(_: Any, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
        if service and as_json:
            event["service"] = service
        return event

    shared: list[Any] = [
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        with_service,
        _with_call,
        structlog.stdlib.PositionalArgumentsFormatter(),
    ]
    renderer: Any = (
        structlog.processors.JSONRenderer()
        if as_json
        else structlog.dev.ConsoleRenderer(colors=colors, exception_formatter=structlog.dev.plain_traceback)
    )
    after: list[Any] = [structlog.stdlib.ProcessorFormatter.remove_processors_meta]
    if as_json:
        # Without locals: they hold keys and prompts.
        transformer = structlog.tracebacks.ExceptionDictTransformer(show_locals=False, max_frames=30)
        after.append(structlog.processors.ExceptionRenderer(transformer))
    return structlog.stdlib.ProcessorFormatter(foreign_pre_chain=shared, processors=[*after, renderer, _struck])


def _uncaught(kind: type[BaseException], error: BaseException, traceback: TracebackType | None) -> None:
    if issubclass(kind, KeyboardInterrupt):
        sys.__excepthook__(kind, error, traceback)
        return
    logging.getLogger("dac").critical("uncaught exception", exc_info=(kind, error, traceback))


def _uncaught_in_thread(caught: threading.ExceptHookArgs) -> None:
    if caught.exc_value is not None:
        _uncaught(caught.exc_type, caught.exc_value, caught.exc_traceback)


def set_up(level: str, form: str, service: str) -> None:
    """Sends all logging to standard error in one form: "json", "text", or "auto" (text on a terminal)."""
    terminal = sys.stderr.isatty()
    as_json = form == "json" or (form == "auto" and not terminal)
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(formatter(as_json=as_json, colors=terminal, service=service))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    for name in FOREIGN:
        foreign = logging.getLogger(name)
        foreign.handlers.clear()
        foreign.propagate = True
    for chatty in CHATTY:
        logging.getLogger(chatty).setLevel(logging.WARNING)
    logging.captureWarnings(True)
    sys.excepthook = _uncaught
    threading.excepthook = _uncaught_in_thread
