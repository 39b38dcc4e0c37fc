"""Keys and certificates: who the server is, and who each client is."""

import datetime
import ipaddress
import os
from collections.abc import Sequence
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_ssh_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from experiments.config import ConfigError

CA, CERTIFICATE, KEY = "ca.pem", "server.pem", "server.key"
"""Files of a server: what clients are given, what it shows, what it keeps."""

_DAYS = 365


def write_client_key(path: Path) -> str:
    """A client's private key at ``path``, for its owner alone, and its public one beside it; the public one.

    Raises:
      ConfigError: there is one already.
    """
    key = ec.generate_private_key(ec.SECP384R1())
    _write_secret(path, key.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption()))
    public = key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode()
    path.with_name(path.name + ".pub").write_text(public + "\n", encoding="utf-8")
    return public


def read_client_key(path: Path) -> ec.EllipticCurvePrivateKey:
    """A client's private key.

    Raises:
      ConfigError: it can't be read, or is none.
    """
    try:
        key = load_ssh_private_key(path.read_bytes(), None)
    except OSError as error:
        raise ConfigError(f"key={path} can't be read ({error.strerror}); `dpjax deploy key` makes one.") from error
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:  # the last two of one with a passphrase
        raise ConfigError(
            f"key={path} is no private key of OpenSSH without a passphrase; `dpjax deploy key` makes one."
        ) from error
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise ConfigError(f"key={path} is not of an elliptic curve, as Flower wants it; `dpjax deploy key` makes one.")
    return key


def public_line(key: ec.EllipticCurvePrivateKey) -> str:
    """The public key of a private one, as a plan has it."""
    return key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode()


def write_certificates(folder: Path, hosts: Sequence[str]) -> None:
    """An authority of this federation alone, and the server's certificate for its names, a year long.

    It is good on the server's own machine too, by which the server registers its clients.

    Args:
      folder: gets ``ca.pem``, which clients are given, ``server.pem`` and ``server.key``.
      hosts: names and addresses under which clients reach the server.

    Raises:
      ConfigError: there are some already.
    """
    folder.mkdir(parents=True, exist_ok=True)
    hosts = list(dict.fromkeys([*hosts, "localhost", "127.0.0.1"]))
    now = datetime.datetime.now(datetime.UTC)
    authority, server = (ec.generate_private_key(ec.SECP384R1()) for _ in range(2))
    root = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "dpjax federation")])

    def begun(subject: x509.Name, key: ec.EllipticCurvePrivateKey) -> x509.CertificateBuilder:
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(root)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(hours=1))
            .not_valid_after(now + datetime.timedelta(days=_DAYS))
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(authority.public_key()), critical=False)
        )

    top = begun(root, authority).add_extension(x509.BasicConstraints(True, 0), critical=True)
    top = top.add_extension(_usage(signs=True), critical=True)
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, hosts[0])])
    leaf = begun(subject, server).add_extension(x509.BasicConstraints(False, None), critical=True)
    leaf = leaf.add_extension(_usage(signs=False), critical=True)
    leaf = leaf.add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
    leaf = leaf.add_extension(x509.SubjectAlternativeName([_name(host) for host in hosts]), critical=False)
    _write_secret(folder / KEY, server.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    (folder / CA).write_bytes(top.sign(authority, SHA256()).public_bytes(Encoding.PEM))
    (folder / CERTIFICATE).write_bytes(leaf.sign(authority, SHA256()).public_bytes(Encoding.PEM))


def check_server(folder: Path) -> None:
    """Refuse a folder without what a server shows, or with a certificate that has expired.

    Raises:
      ConfigError: what is missing, or when it ended.
    """
    for name in (CA, CERTIFICATE, KEY):
        if not (folder / name).is_file():
            raise ConfigError(f"certificates={folder} has no {name}; `dpjax deploy certificates` makes them.")
    try:
        shown = x509.load_pem_x509_certificate((folder / CERTIFICATE).read_bytes())
        authority = x509.load_pem_x509_certificate((folder / CA).read_bytes())
    except (ValueError, OSError) as error:
        raise ConfigError(f"certificates={folder}: {CERTIFICATE} or {CA} is no certificate; make them anew.") from error
    now = datetime.datetime.now(datetime.UTC)
    for name, each in ((CERTIFICATE, shown), (CA, authority)):
        if not each.not_valid_before_utc <= now <= each.not_valid_after_utc:
            raise ConfigError(
                f"certificates={folder}: {name} is good from {each.not_valid_before_utc:%Y-%m-%d} to "
                f"{each.not_valid_after_utc:%Y-%m-%d}, and today is {now:%Y-%m-%d}; make them anew, or set the clock."
            )
    try:
        shown.verify_directly_issued_by(authority)
    except Exception as error:
        raise ConfigError(f"certificates={folder}: {CA} did not issue {CERTIFICATE}; make both anew.") from error


def _usage(signs: bool) -> x509.KeyUsage:
    return x509.KeyUsage(not signs, False, False, False, False, signs, signs, False, False)


def _name(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def _write_secret(path: Path, content: bytes) -> None:
    """For its owner alone from its first byte on, and never over another."""
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        raise ConfigError(f"{path} is there already, and a key is never overwritten; take another name.") from None
    with os.fdopen(handle, "wb") as file:
        file.write(content)
