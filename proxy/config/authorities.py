"""Files with certificates: of authorities, and of the server with its private key."""

from __future__ import annotations

import os
import ssl
import stat
from typing import Any, TypeGuard

from proxy.config.contents import check_regular
from proxy.config.document import Path
from proxy.config.server import Tls
from proxy.config.validation import Validation


def check_authority(validation: Validation, file: Any, path: Path) -> None:
    """Report a `ca_file` that cannot be read or contains no certificate."""
    if not is_path(file) or validation.is_unresolved(path):
        return
    validation.log.add(file)
    try:
        check_regular(file)
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(file)
    except ssl.SSLError:
        validation.problem(path, "contains no PEM certificate")
    except OSError as error:
        validation.unavailable(path, f"cannot be read: {error.strerror}")


def check_certificate(validation: Validation, tls: Tls | None) -> None:
    """Report a certificate and a key of the server that cannot be used, and a key that other users can read."""
    if tls is None:
        return
    path = ("server", "tls")
    names = [(*path, "certificate"), (*path, "key")]
    if any(validation.is_unresolved(name) for name in names):
        return
    for name, file in zip(names, (tls.certificate, tls.key), strict=True):
        validation.log.add(file)
        try:
            check_regular(file)
        except OSError as error:
            validation.unavailable(name, f"cannot be read: {error.strerror}")
            return
    try:
        server_context(tls)
    except OSError as error:
        is_key, text = _unusable(tls, error)
        validation.problem(names[is_key], text)
        return
    if os.stat(tls.key).st_mode & stat.S_IROTH:
        validation.warn(names[1], "the private key can be read by all users of this machine; remove that permission")


def server_context(tls: Tls) -> ssl.SSLContext:
    """A context with the certificate and the key. Raises OSError, which includes ssl.SSLError."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_RENEGOTIATION
    context.set_alpn_protocols(["http/1.1"])
    context.load_cert_chain(tls.certificate, tls.key, password=_no_passphrase)
    return context


class _Encrypted(OSError):
    """The private key needs a passphrase."""


def _no_passphrase() -> str:
    """OpenSSL would ask for it at the terminal."""
    raise _Encrypted


def _unusable(tls: Tls, error: OSError) -> tuple[bool, str]:
    """Whether the fault is in the key, and its description."""
    if isinstance(error, _Encrypted):
        return True, "is protected by a passphrase; remove it"
    if not isinstance(error, ssl.SSLError):
        return True, f"cannot be read: {error.strerror}"
    if error.reason == "KEY_VALUES_MISMATCH":
        return True, "is not the key of the first certificate in `certificate`"
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(tls.certificate)
    except OSError:
        return False, "contains no PEM certificate"
    return True, "contains no PEM key that fits the certificate"


def is_path(value: Any) -> TypeGuard[str]:
    return isinstance(value, str) and value != "" and "\0" not in value
