"""The bytes of sealed records: they open in their own place with every key, and nothing of them can be changed."""

from __future__ import annotations

import os

import pytest

from dac.type.v1 import record_pb2
from dac.type.v1.principal_pb2 import Level
from mesh.envelope_keys import CannotOpen
from mesh.ids import uuid7
from services.audit.sealing.form import (
    NOBODY,
    Place,
    is_sealed,
    joint_cipher,
    key_ids_of,
    open_record,
    plain_change,
    plain_request,
    seal_record,
)

ORG, USER, KEY, OTHER = (uuid7() for _ in range(4))
KEYS = [os.urandom(32), os.urandom(32)]
IDS = os.urandom(32)


def change(**fields: str) -> bytes:
    return record_pb2.AdminRecord(record_id=uuid7(), org_id=ORG, **fields).SerializeToString()


def request(*levels: tuple[int, str]) -> bytes:
    made = record_pb2.RequestRecord(request_id=uuid7(), org_id=ORG)
    for kind, level_id in levels:
        made.path.add(kind=kind, id=level_id)  # type: ignore[arg-type]
    return made.SerializeToString()


@pytest.mark.parametrize(
    ("record", "subjects"),
    [
        (
            request((Level.KIND_ORG, ORG), (Level.KIND_USER, USER), (Level.KIND_KEY, KEY)),
            {f"user:{USER}", f"key:{KEY}"},
        ),
        (request((Level.KIND_KEY, KEY)), {f"key:{KEY}"}),
        (request((Level.KIND_TEAM, USER), (Level.KIND_KEY, "no id")), {NOBODY}),
        (request(), {NOBODY}),
        (b"\xff no record", {NOBODY}),
    ],
    ids=("user and key", "key", "team and no id", "nobody", "no record"),
)
def test_a_request_is_sealed_for_the_users_and_keys_of_its_path(record: bytes, subjects: set[str]) -> None:
    assert set(plain_request(Place(ORG, 1, uuid7()), record)[0].subjects) == subjects


@pytest.mark.parametrize(
    ("record", "subjects"),
    [
        (change(actor=f"user:{USER}", target=f"key:{KEY}"), {f"user:{USER}", f"key:{KEY}"}),
        (change(actor="operator", target=f"user:{USER}"), {f"user:{USER}"}),
        (change(actor="operator", target=f"request:{OTHER}"), {NOBODY}),
        (change(actor="service:audit", action="audit.erase", target=f"user:{USER}"), {NOBODY}),
        (change(actor=f"key:{KEY}", action="audit.hold", target=f"user:{USER}"), {NOBODY}),
        (b"\xff no record", {NOBODY}),
    ],
    ids=("by one to another", "by the operator", "to a request", "audit's erasure", "audit's hold", "no record"),
)
def test_a_change_is_sealed_for_who_made_it_and_to_whom_but_audits_own_for_nobody(
    record: bytes, subjects: set[str]
) -> None:
    assert set(plain_change(Place(ORG, 2, uuid7()), record).subjects) == subjects


def test_no_byte_can_be_changed_and_no_key_be_missing() -> None:
    place = Place(ORG, 2, OTHER)
    record = change(actor="operator", action="key.create", target=f"key:{KEY}", after_json="{}")
    cipher = joint_cipher(KEYS)
    sealed = seal_record(plain_change(place, record), IDS, cipher)
    assert is_sealed(sealed) and not is_sealed(record) and not is_sealed(b"")
    assert key_ids_of(sealed) == IDS and open_record(place, sealed, cipher) == record
    for at in range(len(sealed)):
        changed = sealed[:at] + bytes((sealed[at] ^ 1,)) + sealed[at + 1 :]
        with pytest.raises(CannotOpen):
            open_record(place, changed, cipher)
    for cut in range(len(sealed)):
        assert key_ids_of(sealed[:cut]) in (b"", IDS)
        if cut > 2:
            with pytest.raises(CannotOpen):
                open_record(place, sealed[:cut], cipher)
    for elsewhere in (Place(USER, 2, OTHER), Place(ORG, 1, OTHER), Place(ORG, 2, USER)):
        with pytest.raises(CannotOpen):
            open_record(elsewhere, sealed, cipher)
    for keys in (KEYS[:1], KEYS[1:], KEYS[::-1]):
        with pytest.raises(CannotOpen):
            open_record(place, sealed, joint_cipher(keys))


def test_the_same_record_is_never_sealed_the_same_way() -> None:
    plain, cipher = plain_change(Place(ORG, 2, OTHER), change()), joint_cipher(KEYS)
    assert seal_record(plain, IDS, cipher) != seal_record(plain, IDS, cipher)
