"""Logs: one line an event, JSON or text, with request, organisation and trace id of the call being served."""

import logging
import sys
from collections.abc import MutableMapping
from typing import Any

import structlog

from mesh.call import current


def _with_call(_: Any, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    call = current()
    if call.request_id:
        event["request_id"] = call.request_id
    if call.principal is not None and call.principal.org_id:
        event["org_id"] = call.principal.org_id
    if call.trace_id:
        event["trace_id"] = call.trace_id
    return event


def set_up(level: str, form: str, service: str) -> None:
    """Sends all logging to standard error in one form."""
    as_json = form == "json" or (form == "auto" and not sys.stderr.isatty())
    shared: list[Any] = [
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        _with_call,
        structlog.stdlib.PositionalArgumentsFormatter(),
    ]
    renderer: Any = (
        structlog.processors.JSONRenderer()
        if as_json
        else structlog.dev.ConsoleRenderer(
            colors=sys.stderr.isatty(), exception_formatter=structlog.dev.plain_traceback
        )
    )
    after: list[Any] = [structlog.stdlib.ProcessorFormatter.remove_processors_meta]
    if as_json:
        # Without locals: they hold keys and prompts.
        transformer = structlog.tracebacks.ExceptionDictTransformer(show_locals=False)
        after.append(structlog.processors.ExceptionRenderer(transformer))
    formatter = structlog.stdlib.ProcessorFormatter(foreign_pre_chain=shared, processors=[*after, renderer])
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(formatter)
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    for chatty in ("uvicorn.access", "aiohttp.access", "asyncio"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
    logging.getLogger("uvicorn.error").setLevel(logging.WARNING)
