"""What a service is to the mesh: the context it is handed and the few things it can do."""

import asyncio
import dataclasses
import pathlib
from collections.abc import Callable
from typing import Any, Protocol

import grpc.aio

from mesh.carried import Carried
from mesh.catalog import ModelEntry, ProviderEntry
from mesh.documents import Documents
from mesh.inprocess_calls import MethodTable
from mesh.keyring import Keyring
from mesh.model_book import ModelBook
from mesh.postgres import Database
from mesh.principals import Signer


@dataclasses.dataclass(frozen=True)
class Context:
    """Everything a service gets from outside. It reads no environment and opens no file of its own."""

    name: str
    """The service's name, e.g. "budget"."""
    config: Any
    """The service's own config dataclass."""
    providers: tuple[ProviderEntry, ...]
    """Providers from files and the environment."""
    models: tuple[ModelEntry, ...]
    """Models as they are at the start: the shipped catalog's and the operator's own, of files and of the API."""
    data_dir: pathlib.Path
    """The folder for what must survive; each service keeps to what it makes there."""
    keyring: Keyring
    """Derives the service's subkeys."""
    signer: Signer
    """Signs principals in this service's name."""
    database: Database | None
    """Logged in as dac_<service>; None for a service without a schema."""
    channel_to: Callable[[str], grpc.aio.Channel]
    """The channel to another service, for generated stubs."""
    instance: str = ""
    """Names this process among replicas."""
    split: bool = False
    """Whether this process serves others over sockets."""
    redis_url: str | None = None
    """Redis or Valkey, when there is one."""
    drain_s: float = 30.0
    """How long a stop may take."""
    leaving: asyncio.Event = dataclasses.field(default_factory=asyncio.Event)
    """Set when the process is about to stop: it still serves, but callers should go elsewhere."""
    here: tuple[str, ...] = ()
    """The services of this process."""
    carried: Carried = dataclasses.field(default_factory=lambda: Carried(MethodTable()))
    """Serves calls that came inside another call's messages."""
    documents: Documents | None = None
    """The configuration's files, for sections that are read again while DAC runs."""
    model_book: ModelBook | None = None
    """The models in force, for who follows them."""


class Service(Protocol):
    """A built service. Building opens nothing; `start` does."""

    def register(self, server: grpc.aio.Server) -> None:
        """Adds its servicers."""

    async def start(self) -> None:
        """Begins background work."""

    async def close(self) -> None:
        """Stops it and flushes what must not be lost."""

    async def health(self) -> None:
        """Raises MeshError when the service cannot do its work."""
