"""TLS to a broker: the trusted authority, and our own certificate."""

import ssl

from fedge.errors import ConfigError
from fedge.service.settings import BrokerSettings


class _TlsSocket(ssl.SSLSocket):
    """Closes itself if the handshake fails; paho leaves that to the garbage collector."""

    def do_handshake(self, block: bool = False) -> None:
        try:
            super().do_handshake(block)
        except BaseException:
            self.close()
            raise


def tls_context(broker: BrokerSettings) -> ssl.SSLContext:
    """Read the files of `broker` and make a context for TLS 1.2 or newer.

    Raises:
        ConfigError: a file cannot be used; the text names it.
    """
    try:
        context = ssl.create_default_context(cafile=str(broker.ca) if broker.ca else None)
    except OSError as error:
        raise ConfigError(f"{broker.ca}: holds no certificate in PEM format: {error}") from None
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.sslsocket_class = _TlsSocket
    if broker.certificate is not None and broker.key is not None:
        try:
            context.load_cert_chain(broker.certificate, broker.key)
        except OSError as error:
            raise ConfigError(
                f"{broker.certificate}, {broker.key}: must be a certificate and its key, in PEM format: "
                f"{error}"
            ) from None
    return context
