"""All sixteen provider faults of the fault bench, the outage included."""

import pytest

from tests.edge.test_faults import not_passed, rows


@pytest.mark.long
def test_all_sixteen_pass():
    found = rows()
    assert list(found) == [f"S{number:02}" for number in range(1, 17)] and not_passed(found) == {}
