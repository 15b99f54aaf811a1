"""UUIDv7: valid, sorted as made, never twice."""

import itertools
import uuid

from mesh.ids import is_uuid, uuid7


def test_ids_are_version_7_and_sorted_as_they_were_made():
    made = [uuid7() for _ in range(20_000)]
    assert made == sorted(made) and len(set(made)) == len(made)
    for one in made[::500]:
        assert is_uuid(one) and uuid.UUID(one).version == 7 and uuid.UUID(one).variant == uuid.RFC_4122


def test_ids_of_one_millisecond_are_far_apart():
    made = [uuid.UUID(uuid7()).int for _ in range(1000)]
    steps = [after - before for before, after in itertools.pairwise(made)]
    assert sum(step > 1000 for step in steps) > 990


def test_only_the_canonical_form_is_an_id():
    one = uuid7()
    assert not is_uuid(one.upper().replace("7", "A", 1)) and not is_uuid(one.replace("-", "")) and not is_uuid("")
