"""How often a chat may be sent to a provider once more than asked: for rescue and for hedging, as config says."""

import dataclasses

from dac.type.v1 import chat_pb2
from services.gateway.wire.openai_wire import ChatAsk

RESCUED = frozenset({chat_pb2.DIALECT_OPENAI_CHAT, chat_pb2.DIALECT_ANTHROPIC_MESSAGES})
"""The wire formats whose broken streams can be joined."""


@dataclasses.dataclass(frozen=True, slots=True)
class SecondSends:
    """The operator's rules. Whatever they allow, budget must have covered before anything is sent."""

    max_rescues: int = 0
    hedge_after_s: float = 0.0

    def asked(self, ask: ChatAsk) -> int:
        """How many the reservation should cover."""
        return self._rescues(ask) + (1 if self._hedge_after_s(ask) else 0)

    def granted(self, ask: ChatAsk, covered: int) -> tuple[int, float]:
        """(rescues, hedge_after_s) for provider; budget covers all that were asked for, or none."""
        return (self._rescues(ask), self._hedge_after_s(ask)) if covered else (0, 0.0)

    def _rescues(self, ask: ChatAsk) -> int:
        able = ask.stream and ask.choices == 1 and ask.enable_rescue and ask.dialect in RESCUED
        return self.max_rescues if able else 0

    def _hedge_after_s(self, ask: ChatAsk) -> float:
        return self.hedge_after_s if ask.stream else 0.0
