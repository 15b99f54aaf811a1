"""Calls that travel inside another call's messages: each is served as if it had come alone.

A stream that carries many callers' calls saves what a call of its own costs on a socket, and nothing else: every
carried call goes through the same list of interceptors, with its own principal, permission, span, metric and failure.
"""

from __future__ import annotations

import time
from typing import Any

from mesh import call as calls
from mesh.call import Call
from mesh.inprocess_calls import LocalContext, MethodTable
from mesh.interceptors import Served
from mesh.transport import UNARY_TIMEOUT_S, unimplemented


class Carried:
    """Serves carried calls with the methods of this process."""

    def __init__(self, table: MethodTable) -> None:
        self._table = table

    async def serve(
        self, method: str, request: Any, *, signed_principal: bytes, request_id: str, traceparent: str = ""
    ) -> Any:
        """The answer of a unary method ("/package.Service/Method"). Raises MeshError as a call of its own would.

        How long its caller waits is not known here. What it calls in turn has as long as a unary call has by itself.
        """
        handler: Any = self._table.handlers.get(method)
        if handler is None:
            raise unimplemented(method)
        metadata: dict[str, str | bytes] = {"x-request-id": request_id}
        if signed_principal:
            metadata["x-dac-principal-bin"] = signed_principal
        if traceparent:
            metadata["traceparent"] = traceparent
        call = Call(deadline=time.monotonic() + UNARY_TIMEOUT_S)
        served = Served(method, call, metadata, False, False)
        chain = self._table.chain
        error: BaseException | None = None
        answer = None
        with calls.serving(call):
            try:
                if (waiting := chain.begin(served)) is not None:
                    await waiting
                answer = await handler.unary_unary(request, LocalContext(call, metadata))
            except BaseException as caught:
                error = caught
            error = chain.end(served, error)
        if error is not None:
            try:
                raise error
            finally:
                # By its traceback it holds this frame: were it held in turn, only the collector would find the two.
                del error
        return answer
