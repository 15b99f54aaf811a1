"""Google's Gemini models through Vertex AI: Gemini's own requests and answers, at a project's address, by a token."""

from urllib.parse import quote

from services.provider.adapters import Outgoing
from services.provider.adapters.gemini import GeminiExchange


class VertexExchange(GeminiExchange):
    """For callers who speak OpenAI chat completions. The key is an access token."""

    def outgoing(self) -> Outgoing:
        """Gemini's request at Vertex's path."""
        made = super().outgoing()
        name = self._candidate.upstream_name
        if not name.startswith(("publishers/", "endpoints/")):
            name = f"publishers/google/models/{name.removeprefix('models/')}"
        verb = made.path.rpartition(":")[2]
        headers = {"Content-Type": "application/json"}
        if self._key:
            headers["Authorization"] = f"Bearer {self._key}"
        return Outgoing(f"/{quote(name, safe='/')}:{verb}", headers, made.body, made.framing)
