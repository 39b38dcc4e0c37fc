"""Connections that dpjax opens itself: by TLS 1.3, to whom the certificate says, or to this machine."""

import ipaddress
import ssl


def tls_context() -> ssl.SSLContext:
    """What a client connects with: TLS 1.3, and a certificate for the host that the system's authorities vouch for.

    Example:
      >>> context = tls_context()
      >>> context.minimum_version.name, context.check_hostname, context.verify_mode.name
      ('TLSv1_3', True, 'CERT_REQUIRED')
    """
    context = ssl.create_default_context()
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    return context


def is_this_machine(host: str | None) -> bool:
    """Whether a host is the machine itself, to which nothing travels over a network.

    Args:
      host: name or address; a path, as of a socket, or None are this machine.

    Example:
      >>> [is_this_machine(host) for host in (None, "/run/postgresql", "localhost", "127.0.0.1", "::1", "db.example")]
      [True, True, True, True, True, False]
    """
    if not host or host.startswith(("/", "@")) or host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False
