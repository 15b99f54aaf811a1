"""A chat that is answered at once: read to its end before anything is sent."""

from mesh.errors import MeshError
from services.gateway.chat.chat_run import ChatRun
from services.gateway.chat.pipeline import Done, Head
from services.gateway.edge.exchange import Exchange


async def whole(request: Exchange, run: ChatRun) -> tuple[Head, bytes, Done] | None:
    """What answers, the answer and how it ended; None when the run failed and its caller was told."""
    head, parts, done = None, list[bytes](), None
    events = run.events()
    try:
        async for event in events:
            if isinstance(event, bytes):
                parts.append(event)
            elif isinstance(event, Head):
                head = event
            else:
                done = event
                # The record is handed over when the run ends, before the answer leaves.
                run.record.http_status = 200
    except MeshError as error:
        await request.fail(error)
        return None
    finally:
        await events.aclose()
    assert head is not None and done is not None
    request.done = True
    return head, b"".join(parts), done
