"""The answers of the paths below a thread: one document, or events. The chat behind them is the same as everywhere."""

from collections.abc import Mapping
from typing import Any

import msgspec

from mesh import telemetry
from mesh.errors import MeshError
from mesh.usage import openai_usage
from services.gateway.chat.chat_run import ChatRun
from services.gateway.chat.pipeline import Done, Head
from services.gateway.chat.reserved_run import usd
from services.gateway.chat.whole_answers import whole
from services.gateway.edge.exchange import JSON, Exchange
from services.gateway.edge.headers import EVENTS, UNBUFFERED, head_headers, thread_headers
from services.gateway.persona.stage import DEFAULT_NAME, name_of
from services.gateway.threads.events import ThreadEvents, citations_of, error_event, event


async def answer_whole(request: Exchange, run: ChatRun) -> None:
    """Answers with one document when the answer is whole and saved."""
    made = await whole(request, run)
    if made is None:
        return
    head, answer, done = made
    body = msgspec.json.encode(_document(run, head, done, msgspec.json.decode(answer)))
    headers = [*head_headers(request, run, head, done.cost_nano_usd), *thread_headers(run), JSON]
    await request.answer(200, headers, body)


def _document(run: ChatRun, head: Head, done: Done, given: Mapping[str, Any]) -> dict[str, Any]:
    choice = (given.get("choices") or [{}])[0]
    said, told = choice.get("message") or {}, run.turn.told() if run.turn is not None else {}
    message = {
        "message_id": told.get("message_id", ""),
        "thread_id": told.get("thread_id", ""),
        "role": "assistant",
        "content": said.get("content"),
        "model": head.model,
        "finish_reason": done.finish_reason,
    }
    message |= {name: said[name] for name in ("tool_calls", "refusal") if said.get(name)}
    thought = said.get("reasoning_content") or said.get("reasoning")
    cited = list({str(one.get("url") or one): one for holder in (said, given) for one in citations_of(holder)}.values())
    message |= {"reasoning": thought} if thought else {}
    message |= {"citations": cited} if cited else {}
    return {"message": message, **_told(run, head.model, done), "provider": head.provider, "usage": _usage(done)}


def _told(run: ChatRun, model: str, done: Done) -> dict[str, Any]:
    told = run.turn.told() if run.turn is not None else {}
    told.pop("message_id", None)
    if run.checking is not None:
        told["validation"] = run.checking.told()
    return {**told, "request_id": run.call.request_id, "model": model, "cost": _cost(done)}


def _usage(done: Done) -> dict[str, Any]:
    return openai_usage(done.usage)


def _cost(done: Done) -> dict[str, str] | None:
    """None when no price is known."""
    if done.cost_nano_usd is None:
        return None
    return {"usd": usd(done.cost_nano_usd), "nano_usd": str(done.cost_nano_usd)}


def preamble(run: ChatRun) -> bytes:
    """Who is at it, before the first word; plain streams have no place for it."""
    name = name_of(run.rules.persona) if run.rules is not None else DEFAULT_NAME
    return event("thinking", {"text": f"{name} is thinking.", "preamble": True})


async def answer_stream(request: Exchange, run: ChatRun) -> None:
    """Answers with events, the last of which is `done` or `error`."""
    events, translated, head = run.events(), ThreadEvents(), Head("", "", "")
    telemetry.ACTIVE_STREAMS.inc()
    try:
        async with request.key_watch():
            async for one in events:
                if isinstance(one, bytes):
                    data = b"".join(translated.read(one))
                    if data:
                        await request.send_body(data, more=True)
                elif isinstance(one, Head):
                    head, run.record.http_status = one, 200
                    told = [*head_headers(request, run, one), *thread_headers(run)]
                    await request.start(200, [*told, EVENTS, UNBUFFERED])
                    if run.record.persona.applied:
                        await request.send_body(preamble(run), more=True)
                    if run.turn is not None and run.turn.recalls:
                        found = event("searching", {"source": "memory", "found": run.turn.record.recalled})
                        await request.send_body(found, more=True)
                else:
                    request.done = True
                    message_id = run.turn.record.message_id if run.turn is not None else ""
                    finished = {
                        "message_id": message_id,
                        **_told(run, head.model, one),
                        "finish_reason": one.finish_reason,
                    }
                    usage = event("usage", {**_usage(one), "model": head.model, "cost": _cost(one)})
                    await request.send_body(usage + event("done", finished), more=False)
    except MeshError as error:
        if request.status:
            request.done = True
            telemetry.ERRORS.labels(error.reason.name.lower()).inc()
            kept = run.turn.told() if run.turn is not None else {}
            await request.send_body(error_event(error, run.call.request_id, kept), more=False)
        else:
            await request.fail(error)
    finally:
        telemetry.ACTIVE_STREAMS.dec()
        await events.aclose()
