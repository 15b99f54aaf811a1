"""All sixteen provider faults of the fault bench, the outage included."""

import pytest

from tests.edge.test_faults import not_as_good_as, rows


@pytest.mark.long
def test_all_sixteen_end_as_well_as_they_should():
    found = rows()
    assert list(found) == [f"S{number:02}" for number in range(1, 17)] and not_as_good_as(found) == {}
