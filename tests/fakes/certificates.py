"""Certificates for servers on loopback."""

import ssl
from pathlib import Path

import trustme


def server_context(folder: Path, *names: str) -> tuple[ssl.SSLContext, Path]:
    """A server's context for ``names`` (none: those of loopback), and its authority as a PEM file."""
    authority = trustme.CA()
    certificate = authority.issue_cert(*(names or ("localhost", "127.0.0.1", "::1")))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    certificate.configure_cert(context)
    pem = folder / "authority.pem"
    authority.cert_pem.write_to_path(str(pem))
    return context, pem
