"""A ledger on another machine is spoken to by TLS 1.3, after a look at who answers."""

import datetime
import ipaddress

import pytest
import sqlalchemy as sa
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from dpjax.governance import database
from dpjax.governance.database import ledger_url, reading
from dpjax.governance.errors import LedgerError
from dpjax.governance.ledger import Ledger, create_ledger
from tests.databases import fresh_database, postgresql


def _certificate(host="127.0.0.1"):
    """A certificate that vouches for itself, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "a ledger's server")])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(host))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return made.public_bytes(serialization.Encoding.PEM), pem


@pytest.fixture
def elsewhere(monkeypatch):
    """This machine counts as another one."""
    monkeypatch.setattr(database, "is_this_machine", lambda host: False)


def test_a_server_elsewhere_speaks_tls_1_3_and_is_whom_the_certificate_says(elsewhere, tmp_path):
    certificate, key = _certificate()
    (tmp_path / "right.pem").write_bytes(certificate)
    (tmp_path / "wrong.pem").write_bytes(_certificate()[0])
    with postgresql(certificate, key) as server:
        place = fresh_database(server, "tls")
        ledger = create_ledger(f"{place}?sslrootcert={tmp_path / 'right.pem'}", who="ana")
        with reading(ledger._engine) as connection:
            spoken = connection.execute(sa.text("SELECT version FROM pg_stat_ssl WHERE pid = pg_backend_pid()"))
            assert spoken.scalar_one() == "TLSv1.3"
        for authority in (f"?sslrootcert={tmp_path / 'wrong.pem'}", ""):  # another's, and those of the system
            with pytest.raises(LedgerError, match="certificate verify failed"):
                Ledger(place + authority)
    other, key = _certificate("127.0.0.2")
    (tmp_path / "other.pem").write_bytes(other)
    with postgresql(other, key) as server:
        place = fresh_database(server, "tls")
        with pytest.raises(LedgerError, match=r"127\.0\.0\.1"):
            create_ledger(f"{place}?sslrootcert={tmp_path / 'other.pem'}", who="ana")


@pytest.mark.parametrize("mode", ["disable", "allow", "prefer", "require", "verify-ca"])
def test_a_mode_that_does_not_look_at_who_answers_is_refused(mode):
    with pytest.raises(LedgerError, match=f"sslmode={mode} does not look at who answers"):
        database.connect(ledger_url(f"postgresql://ana@db.example/ledger?sslmode={mode}"))


def test_a_server_without_tls_is_no_ledger_elsewhere(elsewhere):
    with postgresql() as server, pytest.raises(LedgerError, match="SSL"):
        create_ledger(fresh_database(server, "plain"), who="ana")
