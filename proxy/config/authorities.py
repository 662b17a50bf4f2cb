"""Files with certificate authorities."""

from __future__ import annotations

import ssl
from typing import Any, TypeGuard

from proxy.config.contents import check_regular
from proxy.config.document import Path
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


def is_path(value: Any) -> TypeGuard[str]:
    return isinstance(value, str) and value != "" and "\0" not in value
