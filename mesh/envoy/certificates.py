"""A small certificate authority for laptops and tests: one certificate per group of pods, with its SPIFFE id.

Files lie as Kubernetes puts a secret into a pod: names that point through one link, `..data`, which is swapped at once.
A reader sees the old pair or the new one, never a certificate with another's key.
"""

import dataclasses
import datetime
import ipaddress
import os
import pathlib
import secrets
import shutil
from collections.abc import Sequence

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from mesh.config import ConfigError
from mesh.envoy.document import to_yaml
from mesh.envoy.groups import TOPOLOGIES, Names
from mesh.envoy.sds import sds_files

GROUPS = tuple(dict.fromkeys(group for groups in TOPOLOGIES.values() for group in groups))
"""Every group of every topology."""
AUTHORITY_DAYS = 3650
CERTIFICATE, KEY, TRUSTED, AUTHORITY_KEY = "tls.crt", "tls.key", "ca.crt", "ca.key"
_DATA = "..data"


@dataclasses.dataclass(frozen=True)
class Authority:
    """A certificate authority."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey

    def issue(
        self, alternatives: x509.SubjectAlternativeName, days: int, now: datetime.datetime
    ) -> tuple[bytes, bytes]:
        """(certificate, key) as PEM, for TLS servers and clients, with these names."""
        key = ec.generate_private_key(ec.SECP256R1())
        made = (
            _builder(now, days)
            .subject_name(x509.Name([]))
            .issuer_name(self.certificate.subject)
            .public_key(key.public_key())
            .add_extension(alternatives, critical=True)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_usage(signs_certificates=False), critical=True)
            .add_extension(
                x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]),
                critical=False,
            )
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(self.key.public_key()),
                critical=False,
            )
            .sign(self.key, hashes.SHA256())
        )
        return _pem(made), _key_pem(key)


def _builder(now: datetime.datetime, days: int) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .serial_number(x509.random_serial_number())
        # Clocks of machines differ a little.
        .not_valid_before(now - datetime.timedelta(minutes=5))
        .not_valid_after(now + datetime.timedelta(days=days))
    )


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        encipher_only=False,
        decipher_only=False,
    )


def names_of(group: str, names: Names, hosts: Sequence[str]) -> x509.SubjectAlternativeName:
    """A group's SPIFFE id, and the hosts under which it is reached."""
    found: list[x509.GeneralName] = [x509.UniformResourceIdentifier(names.spiffe_id(group))]
    found += [_host(one) for one in dict.fromkeys((names.host(group), "localhost", "127.0.0.1", *hosts))]
    return x509.SubjectAlternativeName(found)


def _host(text: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(text))
    except ValueError:
        return x509.DNSName(text)


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)


def _key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def new_authority(names: Names, now: datetime.datetime) -> Authority:
    """A fresh authority for a trust domain."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"DAC authority of {names.trust_domain}"[:64])])
    made = (
        _builder(now, AUTHORITY_DAYS)
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .add_extension(
            x509.SubjectAlternativeName([x509.UniformResourceIdentifier(f"spiffe://{names.trust_domain}")]),
            critical=False,
        )
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(signs_certificates=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    return Authority(made, key)


def read_authority(folder: pathlib.Path) -> Authority:
    """The authority of a folder. Raises ConfigError."""
    try:
        certificate = x509.load_pem_x509_certificate((folder / TRUSTED).read_bytes())
        key = serialization.load_pem_private_key((folder / AUTHORITY_KEY).read_bytes(), None)
    except OSError as error:
        raise ConfigError(
            f"{folder}: --renew needs the authority made before, but {error.filename} cannot be read ({error.strerror})"
        ) from None
    except ValueError:
        raise ConfigError(
            f"{folder}: {TRUSTED} or {AUTHORITY_KEY} is damaged: it is no PEM certificate or key"
        ) from None
    if not isinstance(key, ec.EllipticCurvePrivateKey) or key.public_key() != certificate.public_key():
        raise ConfigError(f"{folder}: {AUTHORITY_KEY} is not the key of {TRUSTED}")
    return Authority(certificate, key)


def write_private(path: pathlib.Path, data: bytes) -> None:
    """A file that only its owner reads, and that must not exist yet."""
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def publish(folder: pathlib.Path, files: dict[str, bytes]) -> None:
    """Puts `files` into `folder` behind the link `..data`, all at once; what was there before is removed."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    version = folder / f"..{secrets.token_hex(8)}"
    version.mkdir(mode=0o700)
    for name, data in files.items():
        write_private(version / name, data)
    link, fresh = folder / _DATA, folder / f"{_DATA}_tmp"
    before = link.readlink() if link.is_symlink() else None
    fresh.unlink(missing_ok=True)
    fresh.symlink_to(version.name)
    fresh.replace(link)
    for name in files:
        shown = folder / name
        if not shown.is_symlink():
            shown.symlink_to(f"{_DATA}/{name}")
    if before is not None:
        shutil.rmtree(folder / before, ignore_errors=True)


def _write(folder: pathlib.Path, authority: Authority, issued: tuple[bytes, bytes]) -> None:
    certificate, key = issued
    publish(folder, {CERTIFICATE: certificate, KEY: key, TRUSTED: _pem(authority.certificate)})


def make(
    folder: pathlib.Path,
    names: Names,
    *,
    hosts: Sequence[str] = (),
    days: int = 90,
    groups: Sequence[str] = GROUPS,
    now: datetime.datetime | None = None,
) -> None:
    """A new authority, and below it a folder for each group with all that its Envoy reads. Raises ConfigError."""
    now = now or datetime.datetime.now(datetime.UTC)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ConfigError(f"{folder} is not an empty folder: choose another, or renew what is there with --renew")
    folder = folder.absolute()
    authority = new_authority(names, now)
    # Made beside it, under a name that nobody has, and moved there whole.
    made = folder.with_name(f"{folder.name}.{secrets.token_hex(4)}.new")
    made.mkdir(mode=0o700, parents=True)
    try:
        write_private(made / AUTHORITY_KEY, _key_pem(authority.key))
        write_private(made / TRUSTED, _pem(authority.certificate))
        for group in groups:
            _write(made / group, authority, authority.issue(names_of(group, names, hosts), days, now))
            for name, document in sds_files(str(folder / group)).items():
                (made / group / name).write_text(to_yaml(document, "Read by Envoy, again whenever it changes."))
        made.replace(folder)
    finally:
        shutil.rmtree(made, ignore_errors=True)


def renew(folder: pathlib.Path, *, days: int = 90, now: datetime.datetime | None = None) -> tuple[str, ...]:
    """New certificates and keys by the same authority, with the names they have; returns the groups.

    Everything is read before anything is written. Raises ConfigError.
    """
    now = now or datetime.datetime.now(datetime.UTC)
    authority = read_authority(folder)
    if authority.certificate.not_valid_after_utc < now + datetime.timedelta(days=days):
        raise ConfigError(f"{folder}: the authority ends before the new certificates would: make a new folder")
    found = {}
    for path in sorted(folder.glob(f"*/{CERTIFICATE}")):
        try:
            old = x509.load_pem_x509_certificate(path.read_bytes())
            found[path.parent] = old.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        except (OSError, ValueError, x509.ExtensionNotFound):
            raise ConfigError(f"{path} is damaged: it is no certificate with names; make a new folder") from None
    if not found:
        raise ConfigError(f"{folder} has no group's {CERTIFICATE} to renew")
    for own, alternatives in found.items():
        _write(own, authority, authority.issue(alternatives, days, now))
    return tuple(own.name for own in found)
