"""A scriptable OpenAI, Anthropic and Gemini: right answers by default, a fault per model name or script."""

from tests.upstream.behaviour import Behaviour
from tests.upstream.server import Recorded, Upstream

__all__ = ["Behaviour", "Recorded", "Upstream"]
