"""Why a server can't be reached, before and after Flower tries: Flower's own processes retry without saying why."""

import datetime
import email.utils
import socket
import ssl
from pathlib import Path

from experiments.config import ConfigError

_OFF_SECONDS = 8
"""Flower's signatures carry the time, and are good for some ten seconds."""


def address(server: str) -> tuple[str, int]:
    """Host and port of ``HOST:PORT``.

    Raises:
      ConfigError: it is none.

    Example:
      >>> address("hospital.example:9443"), address("[::1]:9443")
      (('hospital.example', 9443), ('::1', 9443))
    """
    host, _, port = server.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not host or not port.isdecimal() or not 0 < int(port) < 2**16 or "/" in host:
        raise ConfigError(f"--server {server} is no address; write HOST:PORT.")
    return host, int(port)


def trusted(ca: Path) -> ssl.SSLContext:
    """What TLS takes for the server, by the certificate of its authority.

    Raises:
      ConfigError: the file holds none.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    try:
        context.load_verify_locations(cadata=ca.read_text(encoding="ascii"))
    except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
        raise ConfigError(f"--ca {ca} is no certificate; give the ca.pem that the coordinator sent.") from error
    return context


def obstacle(server: str, ca: Path) -> str | None:
    """What is in the way of a connection, in one sentence with the fix; None: nothing is.

    Args:
      server: ``HOST:PORT``.
      ca: certificate of its authority.
    """
    host, port = address(server)
    context = trusted(ca)
    try:
        with (
            socket.create_connection((host, port), timeout=5) as plain,
            context.wrap_socket(plain, server_hostname=host) as line,
        ):
            return _clock(line, host, server)
    except ssl.SSLCertVerificationError as error:
        if "mismatch" in error.verify_message or "not valid for" in error.verify_message:
            return f"the server's certificate is not for {host}; connect to a name that it was made for."
        if "expired" in error.verify_message or "not yet valid" in error.verify_message:
            return (
                f"the server's certificate is not good today ({error.verify_message}); set the clock, or make another."
            )
        return f"the server at {server} is not known to --ca {ca}; ask the coordinator for the ca.pem of this server."
    except ssl.SSLError as error:
        return f"who answers at {server} speaks no TLS ({error.reason or 'no handshake'}); is that the server's port?"
    except TimeoutError:
        return f"nobody answers at {server} within 5 s; does a firewall let its port through?"
    except OSError as error:
        return f"nobody answers at {server} ({error.strerror or error}); is the server started?"


def _clock(line: ssl.SSLSocket, host: str, server: str) -> str | None:
    line.sendall(f"GET /health HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
    head = b""
    while b"\r\n\r\n" not in head and len(head) < 2**14 and (part := line.recv(4096)):
        head += part
    dates = [row.partition(b":")[2] for row in head.split(b"\r\n") if row.lower().startswith(b"date:")]
    if not head.startswith(b"HTTP/"):
        return f"who answers at {server} is no SuperLink; is that the server's port?"
    if not dates:
        return None
    theirs = email.utils.parsedate_to_datetime(dates[0].decode("ascii", "replace").strip())
    off = (datetime.datetime.now(datetime.UTC) - theirs).total_seconds()
    if abs(off) <= _OFF_SECONDS:
        return None
    side = "ahead of" if off > 0 else "behind"
    return f"this machine's clock is {abs(off):.0f} s {side} the server's, which takes no signature of then; set it."
