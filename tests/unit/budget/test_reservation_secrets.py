"""What proves that a reservation was handed out is the HMAC that older programs make and ask for."""

import hashlib
import hmac

from hypothesis import given
from hypothesis import strategies as st

from mesh.ids import uuid7
from services.budget.reservation_secrets import ReservationSecrets


@given(st.binary(min_size=32, max_size=32), st.uuids().map(str))
def test_a_secret_is_the_hmac_of_the_reservations_id(key, reservation_id):
    secrets = ReservationSecrets(key)
    for _ in range(2):
        assert secrets.of(reservation_id) == hmac.digest(key, reservation_id.encode(), hashlib.sha256)


def test_it_proves_nothing_of_another_reservation_or_with_another_key():
    reservation_id = uuid7()
    ours, theirs = ReservationSecrets(b"a" * 32), ReservationSecrets(b"b" * 32)
    assert ours.is_of(reservation_id, ours.of(reservation_id))
    assert not ours.is_of(reservation_id, theirs.of(reservation_id))
    assert not ours.is_of(reservation_id, ours.of(uuid7()))
    assert not ours.is_of(reservation_id, b"")
