"""How much a step of a rotation does: the same for whoever is asked for one."""

import pytest

from mesh.errors import MeshError, Reason
from mesh.rotation import MOST, USUAL, step_limit


@pytest.mark.parametrize(
    ("asked", "check_only", "done"), [(0, False, USUAL), (7, False, 7), (MOST, False, MOST), (7, True, 0)]
)
def test_a_step_does_what_is_asked_or_only_looks(asked: int, check_only: bool, done: int) -> None:
    assert step_limit(asked, check_only=check_only) == done


@pytest.mark.parametrize("check_only", [False, True])
@pytest.mark.parametrize("asked", [-1, MOST + 1])
def test_a_step_has_bounds(asked: int, check_only: bool) -> None:
    with pytest.raises(MeshError, match=f"must be 0 to {MOST}, it is {asked}") as refused:
        step_limit(asked, check_only=check_only)
    assert refused.value.reason is Reason.INVALID_REQUEST and refused.value.metadata == {"field": "limit"}
