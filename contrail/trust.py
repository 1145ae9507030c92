"""HTTPS as pip does it: certificates the operating system trusts are trusted."""

from __future__ import annotations

import ssl
from typing import Any

import truststore
from requests.adapters import HTTPAdapter


class SystemTrust(HTTPAdapter):
    """Verifies with the operating system's certificates as well as with requests' own."""

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        """Give the connections a context of the system's certificates."""
        context = truststore.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        super().init_poolmanager(*args, ssl_context=context, **kwargs)
