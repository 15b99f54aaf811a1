"""Expressions in Prometheus' language, put together from few pieces."""

BOARD = ('job=~"$job"', 'instance=~"$instance"')
"""What every series on a board is chosen by."""
CHAT_ROUTE = 'route=~"/v1/chat/completions|/v1/messages|/v1/responses|/v2/chat"'
CHAT_METHOD = 'rpc_method="dac.gateway.v1.ChatService/Chat"'
BAD_CODE = 'rpc_status_code=~"UNKNOWN|DEADLINE_EXCEEDED|INTERNAL|UNAVAILABLE"'


def series(name: str, *matchers: str) -> str:
    """A metric's series, narrowed down."""
    return f"{name}{{{','.join(matchers)}}}" if matchers else name


def rate(name: str, *matchers: str, window: str = "$__rate_interval") -> str:
    """A counter's growth per second."""
    return f"rate({series(name, *matchers)}[{window}])"


def increase(name: str, *matchers: str, window: str = "$__range") -> str:
    """A counter's growth in a window."""
    return f"increase({series(name, *matchers)}[{window}])"


def total(expression: str, *by: str) -> str:
    """The sum, one for each value of the labels."""
    return f"sum by ({', '.join(by)}) ({expression})" if by else f"sum({expression})"


def most(expression: str, *by: str) -> str:
    """The largest, for figures that every replica tells alike."""
    return f"max by ({', '.join(by)}) ({expression})" if by else f"max({expression})"


def or_zero(expression: str) -> str:
    """0 where nothing was counted yet."""
    return f"({expression} or vector(0))"


def share(part: str, whole: str) -> str:
    """A part of a whole."""
    return f"{part} / {whole}"


def quantile(
    which: float, name: str, *matchers: str, by: tuple[str, ...] = (), window: str = "$__rate_interval"
) -> str:
    """A quantile of a histogram; `name` without its suffix."""
    return f"histogram_quantile({which}, {total(rate(name + '_bucket', *matchers, window=window), 'le', *by)})"


def mean(name: str, *matchers: str, by: tuple[str, ...] = ()) -> str:
    """The mean of a histogram."""
    return share(total(rate(name + "_sum", *matchers), *by), total(rate(name + "_count", *matchers), *by))


def largest(expression: str, count: str = "$top") -> str:
    """The first few."""
    return f"topk({count}, {expression})"


def chats(window: str, *matchers: str) -> str:
    """Chats per second, by HTTP and gRPC, also those whose caller was not let in."""
    return _sum(
        rate("http_requests_total", *matchers, CHAT_ROUTE, window=window),
        rate("rpc_server_call_duration_seconds_count", *matchers, CHAT_METHOD, window=window),
    )


def bad_chats(window: str, *matchers: str) -> str:
    """Chats per second that failed through no fault of their callers: 5xx, streams cut short, gRPC's like."""
    return _sum(
        rate("http_requests_total", *matchers, CHAT_ROUTE, 'status=~"5.."', window=window),
        rate("chat_failures_total", *matchers, 'stage="cut"', window=window),
        rate("rpc_server_call_duration_seconds_count", *matchers, CHAT_METHOD, BAD_CODE, window=window),
    )


def _sum(*parts: str) -> str:
    """The sum of what there is: a series that nobody has written yet counts as 0."""
    return f"({' + '.join(or_zero(total(part)) for part in parts)})"
