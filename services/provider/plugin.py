"""What a plug-in may use: everything here, and nothing else, keeps its name and meaning within one API_VERSION."""

from mesh.errors import Reason
from services.provider.adapters import Exchange, Outgoing, Result, Shown, Shows, counted
from services.provider.adapters.framing import NDJSON, SSE, Framing, Splits
from services.provider.adapters.translated import Delta, Translated, count_of
from services.provider.adapters.translated_embedding import Asked, Told, TranslatedEmbedding
from services.provider.calling.events import Ask, Candidate, Dialect, Operation, Usage, UsageSource
from services.provider.errors import ProviderFault, cut, garbage, not_translatable, stream_error
from services.provider.kinds import Account, Credentials, Kind, Make

API_VERSION = 1
"""Raised when something here changes its meaning or goes."""

__all__ = [
    "API_VERSION",
    "NDJSON",
    "SSE",
    "Account",
    "Ask",
    "Asked",
    "Candidate",
    "Credentials",
    "Delta",
    "Dialect",
    "Exchange",
    "Framing",
    "Kind",
    "Make",
    "Operation",
    "Outgoing",
    "ProviderFault",
    "Reason",
    "Result",
    "Shown",
    "Shows",
    "Splits",
    "Told",
    "Translated",
    "TranslatedEmbedding",
    "Usage",
    "UsageSource",
    "count_of",
    "counted",
    "cut",
    "garbage",
    "not_translatable",
    "stream_error",
]
