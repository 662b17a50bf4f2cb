"""TLS of the server. A replaced certificate is used for new connections, without a restart."""

from __future__ import annotations

import logging
import ssl

from proxy.config import Config
from proxy.config.authorities import server_context
from proxy.config.server import Tls

_log = logging.getLogger("models_proxy")


class ServerTls:
    """The context of all connections, which uses the certificate that was loaded last."""

    def __init__(self, settings: Tls) -> None:
        """Raises OSError, which includes ssl.SSLError."""
        self.context = self._current = server_context(settings)
        # Called at the start of every handshake, also without a server name.
        self.context.sni_callback = self._choose

    def configure(self, config: Config) -> None:
        """Use the certificate of another configuration. Its files were validated, but can have changed since then."""
        if config.server.tls is None:
            return  # applied by a restart
        try:
            self._current = server_context(config.server.tls)
        except OSError as error:
            why = error.strerror or "invalid"
            _log.error(
                "server.tls: the certificate or its key cannot be used: %s; the previous ones are still used", why
            )

    def _choose(self, connection: ssl.SSLObject | ssl.SSLSocket, name: str | None, context: ssl.SSLContext) -> None:
        connection.context = self._current
