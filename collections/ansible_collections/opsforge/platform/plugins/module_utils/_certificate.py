# SPDX-License-Identifier: GPL-3.0-or-later
"""TLS certificates signed by the platform's own authority; both live as Secrets in the cluster, and only there."""

from __future__ import annotations

import base64
import datetime
import ipaddress
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from ansible_collections.opsforge.platform.plugins.module_utils._errors import Invalid

MANAGER = "opsforge-certificates"
AUTHORITY_DAYS = 3650
# A clock that runs a little behind must not refuse a new certificate.
_CLOCK_SKEW = datetime.timedelta(minutes=5)


class Secrets(Protocol):
    """What is needed of a cluster here."""

    def get(self, api_version: str, kind: str, name: str, namespace: str | None = None) -> dict[str, Any] | None: ...
    def apply(self, obj: dict[str, Any], *, manager: str, force: bool = False, dry_run: bool = False) -> Any: ...


@dataclass(frozen=True)
class Pair:
    """A certificate with its private key."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey

    @property
    def pem(self) -> str:
        """The certificate, as PEM."""
        return self.certificate.public_bytes(serialization.Encoding.PEM).decode()

    @property
    def key_pem(self) -> str:
        """The private key, as PEM (PKCS 8)."""
        form = serialization.PrivateFormat.PKCS8
        return self.key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption()).decode()

    @property
    def expires(self) -> datetime.datetime:
        """The moment from which nobody accepts the certificate."""
        return self.certificate.not_valid_after_utc

    @property
    def hostnames(self) -> list[str]:
        """The names and addresses that the certificate is for."""
        extension = self.certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        return [str(name.value) for name in extension]


@dataclass(frozen=True)
class Wish:
    """A certificate for these hostnames in one Secret, signed by the authority in another."""

    namespace: str
    name: str
    authority: str
    hostnames: Sequence[str]
    days: int
    renew_days: int


@dataclass(frozen=True)
class Plan:
    """Why the authority and the certificate must be made; None where what exists stays."""

    authority: str | None
    certificate: str | None


def plan(wish: Wish, authority: Pair | None, current: Pair | None, now: datetime.datetime) -> Plan:
    """Decide what is to be made anew, and why."""
    deadline = now + datetime.timedelta(days=wish.renew_days)
    if authority is None:
        return Plan("there is no authority yet", "there is no authority yet")
    if authority.expires <= deadline:
        reason = f"the authority expires on {authority.expires:%Y-%m-%d}"
        return Plan(reason, reason)
    return Plan(None, _why(wish, authority, current, deadline))


def _why(wish: Wish, authority: Pair, current: Pair | None, deadline: datetime.datetime) -> str | None:
    if current is None:
        return "there is no certificate yet"
    if sorted(current.hostnames) != sorted(map(_canonical, wish.hostnames)):
        return "the hostnames differ"
    if current.expires <= deadline:
        return f"the certificate expires on {current.expires:%Y-%m-%d}"
    try:
        current.certificate.verify_directly_issued_by(authority.certificate)
    except (InvalidSignature, TypeError, ValueError):
        return "another authority signed the certificate"
    return None


def _canonical(hostname: str) -> str:
    return str(_general_name(hostname).value)


def _general_name(hostname: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(hostname))
    except ValueError:
        pass
    try:
        return x509.DNSName(hostname.lower())
    except ValueError as error:
        raise Invalid(f"{hostname!r} is neither an address nor a host name that a certificate can hold") from error


def make_authority(now: datetime.datetime) -> Pair:
    """Make a self-signed authority that may sign host certificates and nothing below that."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"OpsForge platform CA {now:%Y-%m-%d}")])
    usage = x509.KeyUsage(True, False, False, False, False, True, True, False, False)
    builder = (
        _builder(name, name, key, now, AUTHORITY_DAYS)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(usage, critical=True)
    )
    return Pair(builder.sign(key, hashes.SHA256()), key)


def issue(authority: Pair, hostnames: Sequence[str], days: int, now: datetime.datetime) -> Pair:
    """Sign a server certificate with a new key; it never outlives the authority. Raises Invalid for a bad hostname."""
    if not hostnames:
        raise Invalid("a certificate needs at least one hostname")
    names = [_general_name(hostname) for hostname in hostnames]
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, hostnames[0][:64])])
    left = (authority.expires - now).days
    builder = (
        _builder(subject, authority.certificate.subject, key, now, min(days, left))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(authority.key.public_key()), critical=False)
    )
    return Pair(builder.sign(authority.key, hashes.SHA256()), key)


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey, now: datetime.datetime, days: int
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _CLOCK_SKEW)
        .not_valid_after(now + datetime.timedelta(days=days))
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )


def from_secret(secret: Mapping[str, Any] | None) -> Pair | None:
    """Read certificate and key out of a TLS Secret; None without one. Raises Invalid if it holds something else."""
    if secret is None:
        return None
    where = f"Secret {secret['metadata']['namespace']}/{secret['metadata']['name']}"
    try:
        data = {key: base64.b64decode(value) for key, value in secret["data"].items()}
        key = serialization.load_pem_private_key(data["tls.key"], None)
        certificate = x509.load_pem_x509_certificate(data["tls.crt"])
        certificate.extensions.get_extension_for_class(x509.BasicConstraints)
    except (AttributeError, KeyError, TypeError, ValueError, x509.ExtensionNotFound) as error:
        raise Invalid(f"{where} holds no readable certificate and key; delete it to have new ones made") from error
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise Invalid(f"{where} was not made by this platform (its key is not an elliptic curve's); delete it first")
    return Pair(certificate, key)


def to_secret(namespace: str, name: str, pair: Pair, authority: Pair) -> dict[str, Any]:
    """The TLS Secret that holds a pair and the certificate to trust it by."""
    labels = {"app.kubernetes.io/part-of": "opsforge", "app.kubernetes.io/managed-by": "opsforge"}
    data = {"tls.crt": pair.pem, "tls.key": pair.key_pem, "ca.crt": authority.pem}
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": name, "namespace": namespace, "labels": labels},
        "type": "kubernetes.io/tls",
        "data": {key: base64.b64encode(value.encode()).decode() for key, value in data.items()},
    }


def ensure(cluster: Secrets, wish: Wish, now: datetime.datetime, *, check: bool = False) -> dict[str, Any]:
    """Make what the plan says, unless `check`.

    Returns a module's result: changed, reason, expires, ca_certificate (empty where check mode makes none) and diff.
    Raises Invalid for a hostname no certificate can hold and for a Secret that is not ours.
    """
    authority = from_secret(cluster.get("v1", "Secret", wish.authority, wish.namespace))
    current = from_secret(cluster.get("v1", "Secret", wish.name, wish.namespace))
    planned = plan(wish, authority, current, now)
    before = _describe(current)
    if planned.authority or authority is None:
        authority = make_authority(now)
    if planned.certificate:
        current = issue(authority, wish.hostnames, wish.days, now)
    if not check:
        made = {wish.authority: planned.authority and authority, wish.name: planned.certificate and current}
        for name, pair in made.items():
            if pair:
                cluster.apply(to_secret(wish.namespace, name, pair, authority), manager=MANAGER, force=True)
    return {
        "changed": planned.certificate is not None,
        "reason": planned.certificate or "",
        "expires": _describe(current)["expires"],
        "ca_certificate": "" if check and planned.authority else authority.pem,
        "diff": {"before": before, "after": _describe(current)},
    }


def _describe(pair: Pair | None) -> dict[str, Any]:
    if pair is None:
        return {"expires": "", "hostnames": []}
    return {"expires": f"{pair.expires:%Y-%m-%d}", "hostnames": sorted(pair.hostnames)}
