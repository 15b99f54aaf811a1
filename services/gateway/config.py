"""The gateway's configuration: section `gateway`."""

import dataclasses
import pathlib

from mesh.config import Secret
from mesh.ids import is_uuid
from mesh.signed_webhooks import check_address, signing_key
from mesh.transport import LARGE_MESSAGE_BYTES
from services.gateway.gating.webhooks import read_urls

MOST_BODY_BYTES = LARGE_MESSAGE_BYTES - 2 * 1024 * 1024
"""A body with what is said beside it must fit into a message between services."""
CONTEXT_TOKENS = 8_000


@dataclasses.dataclass(frozen=True)
class GatewayConfig:
    """How the edge listens, who may come in, and how long a request may take."""

    http_host: str = dataclasses.field(default="127.0.0.1", metadata={"env": "DAC_HTTP_HOST"})
    """The address HTTP is served on; 0.0.0.0 for every interface."""
    http_port: int = dataclasses.field(default=8000, metadata={"env": "DAC_HTTP_PORT"})
    """The port HTTP is served on."""
    grpc_host: str = dataclasses.field(default="127.0.0.1", metadata={"env": "DAC_GRPC_HOST"})
    """The address gRPC callers with an API key come to."""
    grpc_port: int = dataclasses.field(default=50051, metadata={"env": "DAC_GRPC_PORT"})
    """The port gRPC callers with an API key come to; 0 = do not serve them."""
    reuse_port: bool = False
    """Share the ports with other gateway processes (set by `dac up --workers`)."""
    auth: str = dataclasses.field(default="on", metadata={"env": "DAC_AUTH"})
    """"off" serves callers without a key as organisation `default`; on loopback only."""
    bootstrap_api_key: Secret | None = dataclasses.field(default=None, metadata={"env": "DAC_BOOTSTRAP_API_KEY"})
    """Fixes the first key: dac_<env>_<12 characters>_<32 or more of A-Z a-z 0-9>."""
    operator_token: Secret | None = dataclasses.field(default=None, metadata={"env": "DAC_OPERATOR_TOKEN"})
    """Fixes the operator's token, of a key's form, so that replicas agree. Without it each data folder has its own."""
    bootstrap_result_file: pathlib.Path | None = None
    """Where to leave the first key for `dac up` to show once (set by `dac up`)."""
    cors_origins: tuple[str, ...] = ()
    """Origins whose pages may call DAC, e.g. https://app.example.com; "*" for all."""
    request_timeout_s: float = 600.0
    """The longest a chat may take in all."""
    max_rescues: int = 1
    """How often a streamed answer that breaks may be taken up by another attempt, where the budget covers it; 0 =
    never. A chat can refuse it with enable_rescue: false."""
    hedge_after_s: float = 0.0
    """A stream that has shown nothing after this long is asked for at another endpoint or model too, and whoever
    begins first answers; both are charged, where the budget covers it. 0 = never."""
    cache_by_default: bool = False
    """Whether chats that do not say are answered from the response cache and stored in it."""
    cache_mode: str = "default"
    """How much alike a stored question must be for a chat that does not say: exact, default or balanced."""
    cache_semantic_temperature_max: float = 1.0
    """A chat at a higher temperature is answered from the cache only where an equal question was asked. A chat without
    a temperature counts as 1, as providers take it."""
    cache_timeout_s: float = 2.0
    """How long an answer waits for the cache at most, before it and at its end."""
    coalescing_window_s: float = 5.0
    """So long after a call to a provider began equal chats share it, where the cache is allowed for them; 0 = never."""
    coalescing_charge: str = "leader"
    """Who pays for a shared call: "leader", whose request made it, or "each", as if every request had made its own."""
    context_tokens: int = CONTEXT_TOKENS
    """How much of a thread and of memory goes along with a turn; less for a model whose window is too short for it."""
    auto_system_line: str = "You are DAC, a helpful AI assistant."
    """What a chat with model "auto" or "auto:…" begins with where neither it nor its policy says who is to speak; "" =
    nothing. Chats that name a model go on as they were sent."""
    validation_judge_timeout_s: float = 20.0
    """How long an answer waits for the model that a policy names as its judge."""
    validation_nli_path: pathlib.Path | None = None
    """An ONNX model that tells whether one text follows from another, for policies with `nli: true`; vocab.txt and
    config.json stand beside it (docs/validation.md)."""
    validation_webhooks: tuple[str, ...] = ()
    """Webhooks that policies may name to check answers: "moderation=https://checks.example.com/dac", one for each name.
    What they are sent and may answer: docs/validation.md."""
    validation_webhook_secret: Secret | None = None
    """What they are signed with: "whsec_" and Base64 of at least 24 random bytes, or a text of as many."""
    validation_webhook_allow_private_address: bool = False
    """Let validation_webhooks lead to private or local addresses, also over http."""
    validation_webhook_timeout_s: float = 5.0
    """How long an answer waits for a webhook."""
    max_body_bytes: int = 10 * 1024 * 1024
    """The largest request body; at most 30 MiB."""
    audio_min_bytes_per_s: int = 1000
    """What a second of uploaded audio is taken to have at least: an upload is held in the budget for as many seconds
    as its size then allows. 1000 = 8 kbit/s."""
    max_body_depth: int = 64
    """The deepest nesting of a JSON body."""
    commit_timeout_s: float = 15.0
    """How long one try to store a request's record may take; tries go on until one succeeds."""
    record_prompts: tuple[str, ...] = ()
    """The organisations, by id, whose prompts and answers are recorded beside the record of each chat; "*" = all. Needs
    audit.seal_payloads. Who has scope admin in the organisation reads them (docs/recorded-texts.md)."""
    record_prompts_kib: int = 32
    """The most that is recorded of a prompt, and of an answer: of a longer one the middle is left out."""
    metrics_public: bool = True
    """Whether GET /metrics is answered without a key."""

    def __post_init__(self) -> None:
        """Refuses what cannot work."""
        for name in ("http_port", "grpc_port"):
            if not 0 <= getattr(self, name) <= 65_535:
                raise ValueError(f"{name} is {getattr(self, name)}: set a port, 1 to 65535")
        if not 0 <= self.max_rescues <= 7:
            raise ValueError(f"max_rescues is {self.max_rescues}: set it between 0 and 7")
        if not 0 <= self.hedge_after_s < float("inf"):
            raise ValueError(f"hedge_after_s is {self.hedge_after_s}: set seconds, or 0 for never")
        if self.cache_mode not in ("exact", "default", "balanced"):
            raise ValueError(f'cache_mode is "{self.cache_mode}": set exact, default or balanced')
        if self.coalescing_charge not in ("leader", "each"):
            raise ValueError(f'coalescing_charge is "{self.coalescing_charge}": set leader or each')
        for name in ("cache_semantic_temperature_max", "coalescing_window_s"):
            if not 0 <= getattr(self, name) < float("inf"):
                raise ValueError(f"{name} is {getattr(self, name)}: set 0 or more")
        if not 0 < self.cache_timeout_s <= 60:
            raise ValueError(f"cache_timeout_s is {self.cache_timeout_s}: set seconds, at most 60")
        if self.context_tokens < 0:
            raise ValueError(f"context_tokens is {self.context_tokens}: set how many tokens, or 0 for none")
        self._check_validation()
        for org_id in self.record_prompts:
            if org_id != "*" and not is_uuid(org_id):
                raise ValueError(f'record_prompts: "{org_id[:60]}" is no id of an organisation, and not "*"')
        if not 1 <= self.record_prompts_kib <= 256:
            raise ValueError(f"record_prompts_kib is {self.record_prompts_kib}: set it between 1 and 256")
        if self.audio_min_bytes_per_s < 1:
            raise ValueError(f"audio_min_bytes_per_s is {self.audio_min_bytes_per_s}: set 1 or more")
        if self.max_body_bytes > MOST_BODY_BYTES:
            raise ValueError(
                f"max_body_bytes is {self.max_body_bytes}: services pass on at most {MOST_BODY_BYTES}, set no more"
            )
        if self.auth not in ("on", "off"):
            raise ValueError(f'auth must be "on" or "off", not "{self.auth}"')
        loopback = self.http_host in ("127.0.0.1", "::1", "localhost") and self.grpc_host in (
            "127.0.0.1",
            "::1",
            "localhost",
        )
        if self.auth == "off" and not loopback:
            raise ValueError("auth: off is only for loopback: serve on 127.0.0.1, or leave auth on")

    def _check_validation(self) -> None:
        for name in ("validation_judge_timeout_s", "validation_webhook_timeout_s"):
            if not 0 < getattr(self, name) <= 300:
                raise ValueError(f"{name} is {getattr(self, name)}: set seconds, at most 300")
        if self.validation_nli_path is not None and not self.validation_nli_path.is_file():
            raise ValueError(f"validation_nli_path: there is no file {self.validation_nli_path}")
        urls = read_urls(self.validation_webhooks)
        for url in urls.values():
            check_address(url, "validation_webhook", allow_private=self.validation_webhook_allow_private_address)
        if not urls:
            return
        if self.validation_webhook_secret is None:
            raise ValueError("validation_webhooks need validation_webhook_secret, by which receivers know DAC")
        try:
            signing_key(self.validation_webhook_secret.reveal())
        except ValueError as error:
            raise ValueError(f"validation_webhook_secret: {error}") from None
