"""A route at the edge is a dry run under the key's own list, whatever its caller writes."""

from dac.router.v1.router_pb2 import GetStatusRequest, RouteRequest
from dac.type.v1.principal_pb2 import Principal
from services.gateway.chat.dry_runs import ROUTE, complete, completed
from services.gateway.identity.callers import Caller


def caller(*models: str) -> Caller:
    nobody: object = None
    return Caller(Principal(org_id="o"), models, nobody)  # type: ignore[arg-type]


def test_the_keys_own_list_counts() -> None:
    asked = RouteRequest(model="auto", allowed_models=["*"], dry_run=False)
    complete(asked, caller("a/*"))
    assert asked.dry_run and list(asked.allowed_models) == ["a/*"]
    free = RouteRequest(model="auto", allowed_models=["b/*"])
    complete(free, caller())
    assert free.dry_run and list(free.allowed_models) == ["b/*"], "a key for all models may ask what fewer would change"


def test_bytes_of_a_grpc_caller_too_and_nothing_else() -> None:
    asked = RouteRequest(model="auto", prompt="Hi").SerializeToString()
    made = RouteRequest.FromString(completed(ROUTE, asked, caller("a/*")))
    assert made.dry_run and made.prompt == "Hi" and list(made.allowed_models) == ["a/*"]
    other = b"\x0a\x01x"
    assert completed("/dac.router.v1.RouterService/GetStatus", other, caller("a/*")) is other
    status = GetStatusRequest()
    complete(status, caller("a/*"))
    assert status == GetStatusRequest()
