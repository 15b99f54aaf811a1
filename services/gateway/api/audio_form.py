"""What the OpenAPI document says of the audio paths."""

from collections.abc import Mapping
from typing import Any

_MODEL = "It must be named: models differ in their options and voices."
_UPLOAD: Mapping[str, Any] = {
    "model": {"type": "string", "description": f"A model that transcribes. {_MODEL}"},
    "file": {"type": "string", "format": "binary", "description": "The audio, with a file name."},
    "prompt": {"type": "string", "description": "Words that the audio may hold, or the text before it."},
    "response_format": {"type": "string", "enum": ["json", "text", "srt", "verbose_json", "vtt"]},
    "temperature": {"type": "number"},
}
_TRANSCRIPTION: Mapping[str, Any] = {
    **_UPLOAD,
    "language": {"type": "string", "description": "The audio's language, e.g. en."},
    "timestamp_granularities[]": {"type": "string", "enum": ["segment", "word"], "description": "May be repeated."},
    "stream": {"type": "boolean", "description": "The text as events, from models that can."},
}
_SPEECH: Mapping[str, Any] = {
    "model": {"type": "string", "description": f"A model that speaks. {_MODEL}"},
    "input": {"type": "string", "description": "The text."},
    "voice": {"type": "string", "description": "One of the model's voices."},
    "instructions": {"type": "string", "description": "How to speak, for models that can."},
    "response_format": {"type": "string", "enum": ["mp3", "opus", "aac", "flac", "wav", "pcm"]},
    "speed": {"type": "number"},
    "stream_format": {"type": "string", "enum": ["audio", "sse"], "description": "sse: events, with the usage."},
}


def paths(error: Mapping[str, Any]) -> dict[str, Any]:
    """The three paths."""
    listens = "OpenAI's form passes through, every byte of the file, and the provider's answer comes back as it is."
    spoken = "OpenAI's fields pass through. The sound comes as it is made; if it breaks, the connection is closed."
    text: dict[str, Any] = {"application/json": {}, "text/plain": {}}
    return {
        "/v1/audio/transcriptions": _operation(
            "gateway.transcriptions",
            ("A transcription in OpenAI's form", listens, "The text, whole or as events."),
            ("multipart/form-data", ("model", "file"), _TRANSCRIPTION),
            {**text, "text/event-stream": {}},
            error,
        ),
        "/v1/audio/translations": _operation(
            "gateway.translations",
            ("Speech as English text in OpenAI's form", listens, "The text."),
            ("multipart/form-data", ("model", "file"), _UPLOAD),
            text,
            error,
        ),
        "/v1/audio/speech": _operation(
            "gateway.speech",
            ("Speech in OpenAI's form", spoken, "The sound, or events."),
            ("application/json", ("model", "input", "voice"), _SPEECH),
            {"audio/*": {}, "text/event-stream": {}},
            error,
        ),
    }


def _operation(
    identity: str,
    texts: tuple[str, str, str],
    body: tuple[str, tuple[str, ...], Mapping[str, Any]],
    answers: Mapping[str, Any],
    error: Mapping[str, Any],
) -> dict[str, Any]:
    kind, required, properties = body
    schema = {"type": "object", "required": list(required), "properties": dict(properties)}
    return {
        "post": {
            "operationId": identity,
            "summary": texts[0],
            "description": texts[1],
            "tags": ["chat"],
            "security": [{"key": []}],
            "requestBody": {"required": True, "content": {kind: {"schema": schema}}},
            "responses": {
                "200": {"description": texts[2], "content": dict(answers)},
                "default": {"description": "Failed.", "content": {"application/json": {"schema": error}}},
            },
        }
    }
