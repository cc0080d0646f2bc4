"""TLS for other devices, whose cameras need it: a certificate that was given, or one made here and kept.

A self-made one is nobody's word but ours: browsers warn once, and show its fingerprint, which the server prints.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import ipaddress
import os
import socket
import ssl
from pathlib import Path
from typing import TYPE_CHECKING

from vidtok.errors import MissingExtra, UsageError

if TYPE_CHECKING:
    from cryptography.x509 import GeneralName

DAYS = 397  # what browsers bear
FEWEST_DAYS = 7  # left, or another is made


def given(cert: Path, key: Path | None) -> ssl.SSLContext:
    """A certificate and its key, from files; both may be in one."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        context.load_cert_chain(cert, key)
    except (OSError, ssl.SSLError) as error:
        raise UsageError(f"--cert {cert}: cannot be used with its key ({error}); both as PEM, please") from None
    return context


def self_made(host: str, folder: Path | None = None) -> tuple[ssl.SSLContext, str]:
    """A certificate of our own for `host`, and its fingerprint; made once, kept in the user's cache."""
    place = (folder or cache()) / "tls"
    cert, key = place / "cert.pem", place / "key.pem"
    if not _good(cert, key, host):
        place.mkdir(parents=True, exist_ok=True, mode=0o700)
        _make(cert, key, host)
    der = ssl.PEM_cert_to_DER_cert(cert.read_text())
    digest = hashlib.sha256(der).hexdigest().upper()
    return given(cert, key), ":".join(digest[at : at + 2] for at in range(0, len(digest), 2))


def cache() -> Path:
    """Where this user's programs keep what they can make again."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "vidtok"


def _names(host: str) -> list[str]:
    return list(dict.fromkeys((host, "localhost", "127.0.0.1", "::1", socket.gethostname())))


def _good(cert: Path, key: Path, host: str) -> bool:
    """Whether what is kept is for this name and for some days yet."""
    from cryptography import x509

    if not (cert.exists() and key.exists()):
        return False
    try:
        kept = x509.load_pem_x509_certificate(cert.read_bytes())
        names = kept.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (ValueError, x509.ExtensionNotFound):
        return False
    left = kept.not_valid_after_utc - dt.datetime.now(dt.UTC)
    return left > dt.timedelta(days=FEWEST_DAYS) and host in {str(name.value) for name in names}


def _make(cert: Path, key: Path, host: str) -> None:
    try:
        from cryptography import x509
        from cryptography.hazmat.primitives import hashes, serialization
        from cryptography.hazmat.primitives.asymmetric import ec
        from cryptography.x509.oid import NameOID
    except ImportError:
        raise MissingExtra("cryptography", "server") from None
    secret = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "vidtok on this machine")])
    now = dt.datetime.now(dt.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(secret.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=DAYS))
        .add_extension(x509.SubjectAlternativeName([_general(each) for each in _names(host)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .sign(secret, hashes.SHA256())
    )
    private = secret.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    with open(key, "wb", opener=lambda path, flags: os.open(path, flags, 0o600)) as file:
        file.write(private)
    cert.write_bytes(made.public_bytes(serialization.Encoding.PEM))


def _general(name: str) -> GeneralName:
    from cryptography import x509

    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)
