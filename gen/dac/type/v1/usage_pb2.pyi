from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from typing import ClassVar as _ClassVar, Optional as _Optional

DESCRIPTOR: _descriptor.FileDescriptor

class UsageSource(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    USAGE_SOURCE_UNSPECIFIED: _ClassVar[UsageSource]
    USAGE_SOURCE_PROVIDER: _ClassVar[UsageSource]
    USAGE_SOURCE_COUNTED: _ClassVar[UsageSource]
    USAGE_SOURCE_ESTIMATED: _ClassVar[UsageSource]
USAGE_SOURCE_UNSPECIFIED: UsageSource
USAGE_SOURCE_PROVIDER: UsageSource
USAGE_SOURCE_COUNTED: UsageSource
USAGE_SOURCE_ESTIMATED: UsageSource

class Usage(_message.Message):
    __slots__ = ("input_tokens", "input_cached_tokens", "cache_write_tokens", "output_tokens", "reasoning_tokens", "audio_seconds", "input_characters", "cache_write_1h_tokens", "input_audio_tokens", "input_audio_cached_tokens", "input_image_tokens", "output_audio_tokens", "output_image_tokens", "service_tier")
    INPUT_TOKENS_FIELD_NUMBER: _ClassVar[int]
    INPUT_CACHED_TOKENS_FIELD_NUMBER: _ClassVar[int]
    CACHE_WRITE_TOKENS_FIELD_NUMBER: _ClassVar[int]
    OUTPUT_TOKENS_FIELD_NUMBER: _ClassVar[int]
    REASONING_TOKENS_FIELD_NUMBER: _ClassVar[int]
    AUDIO_SECONDS_FIELD_NUMBER: _ClassVar[int]
    INPUT_CHARACTERS_FIELD_NUMBER: _ClassVar[int]
    CACHE_WRITE_1H_TOKENS_FIELD_NUMBER: _ClassVar[int]
    INPUT_AUDIO_TOKENS_FIELD_NUMBER: _ClassVar[int]
    INPUT_AUDIO_CACHED_TOKENS_FIELD_NUMBER: _ClassVar[int]
    INPUT_IMAGE_TOKENS_FIELD_NUMBER: _ClassVar[int]
    OUTPUT_AUDIO_TOKENS_FIELD_NUMBER: _ClassVar[int]
    OUTPUT_IMAGE_TOKENS_FIELD_NUMBER: _ClassVar[int]
    SERVICE_TIER_FIELD_NUMBER: _ClassVar[int]
    input_tokens: int
    input_cached_tokens: int
    cache_write_tokens: int
    output_tokens: int
    reasoning_tokens: int
    audio_seconds: int
    input_characters: int
    cache_write_1h_tokens: int
    input_audio_tokens: int
    input_audio_cached_tokens: int
    input_image_tokens: int
    output_audio_tokens: int
    output_image_tokens: int
    service_tier: str
    def __init__(self, input_tokens: _Optional[int] = ..., input_cached_tokens: _Optional[int] = ..., cache_write_tokens: _Optional[int] = ..., output_tokens: _Optional[int] = ..., reasoning_tokens: _Optional[int] = ..., audio_seconds: _Optional[int] = ..., input_characters: _Optional[int] = ..., cache_write_1h_tokens: _Optional[int] = ..., input_audio_tokens: _Optional[int] = ..., input_audio_cached_tokens: _Optional[int] = ..., input_image_tokens: _Optional[int] = ..., output_audio_tokens: _Optional[int] = ..., output_image_tokens: _Optional[int] = ..., service_tier: _Optional[str] = ...) -> None: ...
