"""Bodies of the audio paths, read as far as they must be routed, priced and checked."""

import dataclasses
from collections.abc import Mapping, Sequence

from dac.provider.v1 import provider_pb2
from dac.provider.v1.provider_pb2 import FormPart
from dac.router.v1.router_pb2 import Candidate
from dac.type.v1.usage_pb2 import Usage
from mesh.errors import invalid
from mesh.tokens import estimate_tokens, upper_bound_tokens
from services.gateway.edge.form import only, read_form, text_of
from services.gateway.redaction.requests import taken_out
from services.gateway.wire import raw_bodies

TRANSCRIPTIONS_PATH = "/v1/audio/transcriptions"
TRANSLATIONS_PATH = "/v1/audio/translations"
SPEECH_PATH = "/v1/audio/speech"
OPERATIONS: Mapping[str, str] = {
    TRANSCRIPTIONS_PATH: "transcription",
    TRANSLATIONS_PATH: "translation",
    SPEECH_PATH: "speech",
}
"""What the record says was asked for, by the path."""
TASKS = {
    "transcription": provider_pb2.AUDIO_TASK_TRANSCRIPTION,
    "translation": provider_pb2.AUDIO_TASK_TRANSLATION,
    "speech": provider_pb2.AUDIO_TASK_SPEECH,
}
BYTES_PER_AUDIO_TOKEN = 1600
"""Ten tokens a second, at the 128 kbit/s that are usual for mp3: what an upload is likely to be."""
SPOKEN_TOKENS_PER_BYTE = 2
"""The most tokens of sound for a byte of text: slow speech is ten bytes of it a second, and OpenAI counts a second of
sound as 21 tokens."""
SPOKEN_TOKENS_MORE = 100
"""What short texts may take beside that."""
WRITTEN_TOKENS = 4096
"""How long the text of an upload may be where the model does not say its longest."""
SPEECH_EXAMPLE = '{"model": "openai/gpt-4o-mini-tts", "voice": "alloy", "input": "Hello"}'
FORM_EXAMPLE = "-F model=openai/gpt-4o-mini-transcribe -F file=@speech.mp3"


@dataclasses.dataclass(frozen=True, slots=True)
class AudioAsk:
    """A request, read."""

    operation: str
    model: str
    body: bytes
    """The body as it came: what tells two requests of one id apart."""
    input_tokens: int
    input_tokens_max: int
    stream: bool
    """Whether the answer goes on as it comes."""
    form: Sequence[FormPart] = ()
    output_tokens_max: int = 0
    audio_seconds_max: int = 0
    input_characters: int = 0
    redaction: bool | None = None
    """Whether private values are to be kept from the provider; None = as its policy says."""

    def bound(self, candidates: Sequence[Candidate]) -> Usage:
        """The most that any of these can use for it."""
        longest = max((one.max_output_tokens for one in candidates), default=0)
        if self.operation == "speech":
            return Usage(
                input_tokens=self.input_tokens_max,
                output_tokens=min(self.output_tokens_max, longest or self.output_tokens_max),
                input_characters=self.input_characters,
            )
        contexts = [one.context_tokens for one in candidates]
        # A byte of audio is hardly ever a token, and no model reads more than its context.
        most = min(self.input_tokens_max, max(contexts)) if contexts and all(contexts) else self.input_tokens_max
        longest = longest or WRITTEN_TOKENS
        return Usage(input_audio_tokens=most, output_tokens=longest, audio_seconds=self.audio_seconds_max)


def parse_speech(body: bytes, *, max_depth: int = 64) -> AudioAsk:
    """Reads and checks a JSON body. Raises INVALID_REQUEST naming the field and the mend."""
    fields = raw_bodies.top_level(body, max_depth, SPEECH_EXAMPLE)
    model = raw_bodies.model_of(fields, f"Say which model speaks, e.g. {SPEECH_EXAMPLE}.")
    text = raw_bodies.read_field(fields, "input", str, "")
    if not text:
        raise invalid("input", f'"input" is missing or empty: send the text to speak, e.g. {SPEECH_EXAMPLE}.')
    manner = raw_bodies.read_field(fields, "instructions", str, "")
    spoken = len(text.encode("utf-8", "replace"))
    size = spoken + len(manner.encode("utf-8", "replace"))
    redaction, body = taken_out(fields, body)
    return AudioAsk(
        "speech",
        model,
        body,
        estimate_tokens(size),
        upper_bound_tokens(size),
        True,
        output_tokens_max=SPOKEN_TOKENS_PER_BYTE * spoken + SPOKEN_TOKENS_MORE,
        input_characters=len(text),
        redaction=redaction,
    )


def parse_upload(body: bytes, content_type: str, operation: str, *, min_bytes_per_s: int) -> AudioAsk:
    """Reads and checks a form. Raises INVALID_REQUEST naming the part and the mend.

    How long the audio is stands in its coding, which DAC does not read; `min_bytes_per_s` turns its size into a bound.
    """
    parts = read_form(body, content_type)
    model = text_of(parts, "model").strip()
    if not model or len(model) > 200 or not model.isprintable():
        raise invalid("model", f'"model" is missing or no name: say which model listens, e.g. {FORM_EXAMPLE}.')
    file = only(parts, "file")
    if file is None or not file.filename or not file.data:
        raise invalid("file", f'"file" is missing, empty or has no file name: send the audio, e.g. {FORM_EXAMPLE}.')
    stream = text_of(parts, "stream").strip().lower() in ("true", "1")
    prompt = len(text_of(parts, "prompt").encode())
    likely = estimate_tokens(prompt) + max(1, len(file.data) // BYTES_PER_AUDIO_TOKEN)
    most = upper_bound_tokens(prompt) + len(file.data)
    seconds = -(-len(file.data) // min_bytes_per_s)
    return AudioAsk(operation, model, body, likely, most, stream, parts, audio_seconds_max=seconds)
