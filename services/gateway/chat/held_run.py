"""A chat as far as it is paid for: how much of a model it may use, held by the budget before a provider is asked."""

from __future__ import annotations

from mesh.errors import MeshError, Reason
from mesh.tokens import estimate_tokens, upper_bound_tokens
from services.gateway.chat.reserved_run import ReservedRun
from services.gateway.wire import openai_wire
from services.gateway.wire.openai_wire import ChatAsk

MOST_OUTPUT_TOKENS = 1_000_000_000
"""What budget takes at most."""


class HeldRun(ReservedRun):
    """A chat with the body that is sent, and what that may cost."""

    ask: ChatAsk
    _body: bytes

    def _sends(self, body: bytes) -> None:
        """Another body goes to the provider: what is added is counted before it is paid for."""
        added = max(0, len(body) - len(self._body))
        self._body = body
        self.ask.input_tokens += estimate_tokens(added)
        self.ask.input_tokens_max += upper_bound_tokens(added)

    def _input_tokens_max(self) -> int:
        """The most the model may read, also of what only its provider knows."""
        contexts = [one.context_tokens for one in self._candidates] if self.ask.unseen_input else []
        return max([self.ask.input_tokens_max, *contexts])

    def _wanted_tokens(self) -> int:
        """The most it may write in all; 0 = unknown."""
        limits = [candidate.max_output_tokens for candidate in self._candidates if candidate.max_output_tokens]
        wanted = self.ask.max_output_tokens or (max(limits) if limits else 0)
        return min(wanted * self.ask.choices, MOST_OUTPUT_TOKENS)

    async def reserve(self) -> None:
        """Has budget hold what it may cost."""
        ask = self.ask
        held = await self._hold(
            self._body,
            input_tokens=ask.input_tokens,
            input_tokens_max=self._input_tokens_max(),
            max_output_tokens=self._wanted_tokens(),
            asked_output_tokens=min(ask.max_output_tokens * ask.choices, MOST_OUTPUT_TOKENS),
            rescues=self._pipeline.second_sends.asked(ask),
            stream=ask.stream,
            names_service_tier=openai_wire.names_service_tier(ask),
        )
        if 0 < held.output_cap_tokens < ask.choices:
            raise MeshError(
                Reason.BUDGET_EXHAUSTED,
                f"What is left of the budget pays for {held.output_cap_tokens} tokens in all, less than one for each "
                f"of the {ask.choices} choices: ask for fewer with n.",
                metadata={"field": "n"},
            )
        self.stage("reserve")
