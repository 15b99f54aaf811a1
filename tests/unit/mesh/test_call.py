"""Who may call: somebody who acts for an organisation, and holds what is asked for."""

import pytest

from dac.type.v1.principal_pb2 import Principal
from mesh.call import Call, require_organisation, serving
from mesh.errors import MeshError, Reason
from mesh.ids import uuid7

ORG = uuid7()


@pytest.mark.parametrize(
    ("principal", "scope", "refusal"),
    [
        (Principal(org_id=ORG, scopes=["admin"]), "read", None),
        (Principal(org_id=ORG), "", None),
        (Principal(org_id=ORG, scopes=["read"]), "admin", Reason.PERMISSION_DENIED),
        (Principal(kind=Principal.KIND_OPERATOR, scopes=["operator"]), "admin", Reason.INVALID_REQUEST),
        (Principal(org_id="o"), "", Reason.INVALID_REQUEST),
        (None, "", Reason.PRINCIPAL_REQUIRED),
    ],
)
def test_who_acts_for_an_organisation(principal: Principal | None, scope: str, refusal: Reason | None) -> None:
    with serving(Call(principal=principal)):
        if refusal is None:
            assert require_organisation(scope).org_id == ORG
            return
        with pytest.raises(MeshError) as caught:
            require_organisation(scope)
        assert caught.value.reason is refusal
