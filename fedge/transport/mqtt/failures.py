"""Explain an error of a connection attempt or a connection, and say what to do."""

import errno
import ssl

from fedge.errors import FedgeError
from fedge.transport.diagnosis import Peer, no_handshake

FORESEEN = (FedgeError, OSError, ValueError)
"""The errors of connecting that files, names, networks or brokers cause. `ssl.SSLError` is an `OSError`; a
resolver raises `ValueError` for a text that cannot be a name."""


def failure(peer: Peer, error: Exception) -> str:
    """The reason to log for an error that ended a connection attempt or a connection."""
    if isinstance(error, FedgeError):
        return str(error)
    if isinstance(error, ssl.SSLCertVerificationError):
        return (
            f"{peer} is not trusted: {error.verify_message} "
            "(is [broker] ca its authority, and this machine's clock right?)"
        )
    if isinstance(error, ssl.SSLError):
        return no_handshake(peer, error)
    if isinstance(error, OSError) and error.errno in (errno.EMFILE, errno.ENFILE):
        return (
            f"{peer} cannot be reached: this program, or this machine, has too many files and "
            f"connections open (`ulimit -n`, LimitNOFILE=): {error}"
        )
    if peer.tls and isinstance(error, ConnectionResetError):  # a server is there, and ended TLS
        return no_handshake(peer, error)
    if isinstance(error, OSError | ValueError):
        return f"no broker answers at {peer}: {error}"
    return f"{peer} sent an answer that cannot be read: {type(error).__name__}: {error}"
