"""What the real APIs refuse: fields and roles checked, errors in each API's own shape."""

from typing import Any

OPENAI_FIELDS = frozenset(
    """messages model audio frequency_penalty function_call functions logit_bias logprobs max_completion_tokens
    max_tokens metadata modalities n parallel_tool_calls prediction presence_penalty prompt_cache_key
    reasoning_effort response_format safety_identifier seed service_tier stop store stream stream_options temperature
    tool_choice tools top_logprobs top_p user verbosity web_search_options""".split()  # noqa: SIM905
)
ANTHROPIC_FIELDS = frozenset(
    """model messages max_tokens cache_control container context_management mcp_servers metadata output_config
    service_tier stop_sequences stream system temperature thinking tool_choice tools top_k top_p""".split()  # noqa: SIM905
)
OPENAI_ROLES = frozenset({"system", "developer", "user", "assistant", "tool", "function"})


def check_openai(body: Any) -> tuple[str, str] | None:
    """None, or (message, param) of the first thing OpenAI would refuse."""
    if not isinstance(body, dict):
        return "We could not parse the JSON body of your request.", ""
    for field in body:
        if field not in OPENAI_FIELDS and not (field == "reasoning" and _shows_reasoning(body)):
            return f"Unrecognized request argument supplied: {field}", field
    if not isinstance(body.get("model"), str) or not body["model"]:
        return "you must provide a model parameter", "model"
    messages = body.get("messages")
    if not isinstance(messages, list) or not messages:
        return "Missing required parameter: 'messages'.", "messages"
    if body.get("stream_options") is not None and not body.get("stream"):
        return "The 'stream_options' parameter is only allowed when 'stream' is enabled.", "stream_options"
    if body.get("max_tokens") is not None and body.get("max_completion_tokens") is not None:
        return "Setting 'max_tokens' and 'max_completion_tokens' at the same time is not supported.", "max_tokens"
    for field in ("max_tokens", "max_completion_tokens"):
        if body.get(field) is not None and (not isinstance(body[field], int) or body[field] < 1):
            return f"Invalid value for '{field}': integer below minimum value.", field
    return _check_openai_messages(messages)


def _shows_reasoning(body: dict[str, Any]) -> bool:
    """OpenAI's own chats have no field "reasoning"; compatible servers of models that show theirs do."""
    return "deepseek-r" in str(body.get("model"))


def _check_openai_messages(messages: list[Any]) -> tuple[str, str] | None:
    open_calls: set[str] = set()
    for index, message in enumerate(messages):
        where = f"messages[{index}]"
        if not isinstance(message, dict) or message.get("role") not in OPENAI_ROLES:
            return f"Invalid value for '{where}.role'. Supported values are: system, assistant, user, tool.", where
        content = message.get("content")
        if content is not None and not isinstance(content, str | list):
            return f"Invalid type for '{where}.content': expected a string or an array.", f"{where}.content"
        if content is None and message["role"] != "assistant":
            return f"Invalid value for '{where}.content': expected a string, got null.", f"{where}.content"
        if message["role"] == "tool":
            if message.get("tool_call_id") not in open_calls:
                return (
                    "messages with role 'tool' must be a response to a preceeding message with 'tool_calls'.",
                    f"{where}.role",
                )
            open_calls.discard(message["tool_call_id"])
        elif message["role"] == "assistant":
            open_calls = {call["id"] for call in message.get("tool_calls") or []}
    return None


EMBEDDING_FIELDS = frozenset({"input", "model", "encoding_format", "dimensions", "user"})


def check_embeddings(body: Any) -> tuple[str, str] | None:
    """None, or (message, param) of the first thing OpenAI would refuse."""
    if not isinstance(body, dict):
        return "We could not parse the JSON body of your request.", ""
    for field in body:
        if field not in EMBEDDING_FIELDS:
            return f"Unrecognized request argument supplied: {field}", field
    if not isinstance(body.get("model"), str) or not body["model"]:
        return "you must provide a model parameter", "model"
    given = body.get("input")
    if not isinstance(given, str | list) or not given or (isinstance(given, list) and not all(given)):
        return "'$.input' is invalid. Please check the API reference.", "input"
    if isinstance(given, list) and not isinstance(given[0], int) and len(given) > 2048:
        return "'$.input' is too long: at most 2048 inputs.", "input"
    if body.get("encoding_format") not in (None, "float", "base64"):
        return "Invalid value for 'encoding_format'. Supported values are: 'float' and 'base64'.", "encoding_format"
    if body.get("dimensions") is not None and (not isinstance(body["dimensions"], int) or body["dimensions"] < 1):
        return "Invalid value for 'dimensions': integer below minimum value.", "dimensions"
    return None


BETA_FIELDS = {"context_management": "context-management-"}
"""Fields that are only taken with a beta whose name begins so."""
SYSTEM_BETA = "mid-conversation-system-"


def check_anthropic(body: Any, betas: str = "") -> str | None:
    """None, or the message of the first thing Anthropic would refuse; `betas` is the header anthropic-beta."""
    if not isinstance(body, dict):
        return "The request body is not valid JSON"
    for field in body:
        if field not in ANTHROPIC_FIELDS or BETA_FIELDS.get(field, "") not in betas:
            return f"{field}: Extra inputs are not permitted"
    for field in ("model", "max_tokens", "messages"):
        if field not in body:
            return f"{field}: Field required"
    if not isinstance(body["max_tokens"], int) or body["max_tokens"] < 1:
        return "max_tokens: Input should be greater than or equal to 1"
    if not isinstance(body["messages"], list) or not body["messages"]:
        return "messages: at least one message is required"
    if not 0 <= body.get("temperature", 1) <= 1:
        return "temperature: range: 0..1"
    for index, message in enumerate(body["messages"]):
        if message.get("role") == "system" and SYSTEM_BETA in betas and index:
            continue
        if message.get("role") not in ("user", "assistant"):
            return f'messages: Unexpected role "{message.get("role")}".'
        if not message.get("content"):
            return f"messages.{index}: all messages must have non-empty content"
        wanted = _tool_use_ids(body["messages"][index - 1]) if index else set()
        given = _blocks(message, "tool_result", "tool_use_id")
        if given - wanted:
            return f"messages.{index}: unexpected `tool_use_id` found in `tool_result` blocks"
        if wanted - given:
            return f"messages.{index - 1}: `tool_use` ids were found without `tool_result` blocks immediately after"
    if body["messages"][0]["role"] != "user":
        return "messages: first message must use the user role"
    for index, tool in enumerate(body.get("tools") or []):
        if "name" not in tool or not isinstance(tool.get("input_schema"), dict):
            return f"tools.{index}.custom.input_schema: Field required"
    return None


def _blocks(message: dict[str, Any], kind: str, field: str) -> set[str]:
    content = message.get("content")
    return {part[field] for part in content if part.get("type") == kind} if isinstance(content, list) else set()


def _tool_use_ids(message: dict[str, Any]) -> set[str]:
    return _blocks(message, "tool_use", "id") if message.get("role") == "assistant" else set()
