"""Principals: only what its issuer signed, for what that issuer may say, and only while it lasts."""

from __future__ import annotations

import stat
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dac.type.v1.principal_pb2 import Principal, SignedPrincipal
from mesh import principals
from mesh.errors import MeshError, Reason
from mesh.principals import LIFETIME_S, Signer, Verifier

GATEWAY, ROUTER = Signer("gateway", b"g" * 32), Signer("router", b"r" * 32)
KEYS = {one.signing_key_id: (one.service, one.public_key) for one in (GATEWAY, ROUTER)}


async def look_up(key_id):
    return KEYS.get(key_id)


def caller(**more):
    return Principal(kind=Principal.KIND_USER_KEY, org_id="o", key_id="k", scopes=["chat"], **more)


def service(name):
    return Principal(kind=Principal.KIND_SERVICE, service=name)


async def refused(token, verifier=None):
    with pytest.raises(MeshError) as caught:
        await (verifier or Verifier(look_up)).verify(token)
    assert caught.value.reason is Reason.INVALID_CREDENTIAL
    return caught.value.message


def resigned(principal, signer):
    """Signed with `signer`'s key, whatever the principal says."""
    raw = principal.SerializeToString()
    signed = SignedPrincipal(principal=raw, signature=signer._key.sign(raw), signing_key_id=signer.signing_key_id)
    return signed.SerializeToString()


def lasting(principal, issuer):
    principal.issuer = issuer
    principal.expires_at.FromSeconds(int(time.time()) + 60)
    return principal


async def test_what_the_gateway_signs_is_proven():
    proven = await Verifier(look_up).verify(GATEWAY.sign(caller()))
    assert (proven.org_id, proven.key_id, list(proven.scopes), proven.issuer) == ("o", "k", ["chat"], "gateway")
    assert proven.expires_at.seconds - proven.issued_at.seconds == LIFETIME_S


@pytest.mark.parametrize("signer", [GATEWAY, ROUTER])
async def test_a_service_speaks_for_itself(signer):
    assert (await Verifier(look_up).verify(signer.sign(service(signer.service)))).service == signer.service


@pytest.mark.parametrize(
    ("signer", "principal"),
    [
        (ROUTER, caller()),
        (ROUTER, service("gateway")),
        (GATEWAY, service("router")),
        (GATEWAY, caller(service="budget")),
    ],
)
async def test_a_service_does_not_speak_for_anybody_else(signer, principal):
    await refused(signer.sign(principal))


async def test_an_issuer_that_is_not_the_signer_is_refused():
    await refused(resigned(lasting(caller(), "gateway"), ROUTER))
    await refused(resigned(lasting(service("router"), "gateway"), ROUTER))
    await Verifier(look_up).verify(resigned(lasting(caller(), "gateway"), GATEWAY))


async def test_a_changed_principal_or_signature_is_refused():
    signed = SignedPrincipal.FromString(GATEWAY.sign(caller()))
    widened = Principal.FromString(signed.principal)
    widened.scopes.append("operator")
    for changes in (
        {"principal": widened.SerializeToString()},
        {"signature": signed.signature[:-1] + bytes([signed.signature[-1] ^ 1])},
        {"signature": b""},
        {"signing_key_id": ROUTER.signing_key_id},
        {"signing_key_id": "nobody"},
    ):
        forged = SignedPrincipal.FromString(signed.SerializeToString())
        for name, value in changes.items():
            setattr(forged, name, value)
        await refused(forged.SerializeToString())


async def test_a_key_of_another_installation_is_refused():
    await refused(Signer("gateway", b"x" * 32).sign(caller()))


async def test_an_expired_principal_is_refused_also_when_it_was_proven_before(monkeypatch):
    verifier, now = Verifier(look_up), [time.time()]
    monkeypatch.setattr(principals.time, "time", lambda: now[0])
    token = GATEWAY.sign(caller())
    await verifier.verify(token)
    now[0] += LIFETIME_S + 1
    assert "expired" in await refused(token, verifier)
    assert "expired" in await refused(token)


async def test_one_without_an_end_is_refused():
    await refused(resigned(caller(issuer="gateway"), GATEWAY))


async def test_a_token_is_checked_once_and_remembered_within_bounds():
    asked = []

    async def counted(key_id):
        asked.append(key_id)
        return KEYS.get(key_id)

    verifier = Verifier(counted, capacity=2)
    tokens = [GATEWAY.sign(caller(user_id=str(number))) for number in range(4)]
    for token in tokens * 2:
        await verifier.verify(token)
    assert asked == [GATEWAY.signing_key_id]
    assert len(verifier._seen) == 2


@given(token=st.binary(max_size=200))
async def test_any_bytes_are_refused_by_name(token):
    await refused(token)


def test_the_signing_key_is_made_once_and_only_its_owner_reads_it(tmp_path):
    one = Signer.from_file("router", tmp_path, create=True)
    assert Signer.from_file("router", tmp_path, create=False).signing_key_id == one.signing_key_id
    assert stat.S_IMODE((tmp_path / "principal-router.key").stat().st_mode) == 0o600
    with pytest.raises(MeshError, match=r"principal-budget\.key"):
        Signer.from_file("budget", tmp_path, create=False)
