"""A chat as far as its route: the context that goes along, who may answer, and what its policy does to its body."""

from dac.router.v1.answers_pb2 import AnswerRules
from dac.router.v1.router_pb2 import RouteRequest
from mesh.errors import MeshError
from services.gateway.chat.answer_stage import Staged
from services.gateway.chat.answer_stages import stages_of
from services.gateway.persona.stage import introduced
from services.gateway.sharing.shared_run import SharedRun
from services.gateway.threads.turn import ThreadTurn
from services.gateway.wire.end_users import end_user


class RoutedRun(SharedRun):
    """A chat with its candidates and the body that they are sent."""

    def _answering(self) -> str:
        """The model that answers by now."""
        return self._attempt.model if self._attempt else self._candidates[0].model

    async def _route(self) -> None:
        ask = self.ask
        request = RouteRequest(
            model=ask.model,
            profile=ask.profile,
            input_tokens=ask.input_tokens,
            max_output_tokens=ask.max_output_tokens,
            needs_tools=ask.needs_tools,
            needs_images=ask.needs_images,
            needs_json=ask.needs_json,
            stream=ask.stream,
            allowed_models=self.caller.models,
            prompt=ask.prompt,
            turns=ask.turns,
            task_type=ask.task_type,
            request_id=self.call.request_id,
            thread_id=ask.thread_id,
            end_user=end_user(ask.fields),
        )
        try:
            await self._route_by(request)
        except MeshError as error:
            if error.metadata.get("field") == "profile":
                # What the caller sent is called otherwise in a chat body.
                error.metadata["field"] = "routing_profile" if ask.profile else "model"
            raise

    async def _route_with_context(self, turn: ThreadTurn) -> None:
        """The context first, because the route has to know how long the request is."""
        self._body = await turn.body()
        self.stage("context")
        try:
            await self._route()
        except MeshError as error:
            shorter = await turn.body_after(error)
            if shorter is None:
                raise
            self._body = shorter
            await self._route()
        shorter = await turn.body_for(self._candidates)
        self._body = self._body if shorter is None else shorter

    async def _prepare(self, rules: AnswerRules) -> None:
        """Does to the body what the policy asks for; what it adds is counted before it is paid for."""
        self.answer_stages = stages = stages_of(Staged(rules, self.ask, self.caller, self.record, self._answering))
        if stages is None:
            return
        self._shown = []
        self._sends(await stages.sent(self._body))
        self.stage("prepare")

    def _introduce(self, line: str) -> None:
        """Says to a model that the router chose who it is, unless somebody else does, or wants it left out."""
        if self.ask.persona is False or self.caller.without_persona:
            return
        if self.rules is None or not self.rules.HasField("persona"):
            self._sends(introduced(self._body, line, self.ask.dialect))
