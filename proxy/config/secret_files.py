"""Secrets in files. Their values change while the proxy runs; everything else in a configuration is constant."""

from __future__ import annotations

import logging
from collections.abc import Callable
from threading import Lock

from pydantic import SecretStr

from proxy.config.contents import content
from proxy.config.sources import stamp

ReadSecret = Callable[[str], str]
CheckSecret = Callable[[SecretStr], SecretStr]

MAX_SECRET = 64 * 1024
"""Bytes of a file with a secret."""

_log = logging.getLogger("models_proxy")


def read_secret(path: str) -> str:
    """Return the content of a regular file. Raises OSError and UnicodeDecodeError."""
    raw = content(path, MAX_SECRET)
    if len(raw) > MAX_SECRET:
        raise OSError(0, f"Larger than {MAX_SECRET:,} bytes")
    return raw.decode()


class SecretFile(SecretStr):
    """The secret in a file, as a value of a setting. `reload` and `poll` read the file, so they belong in a thread."""

    def __init__(self, path: str, setting: str, check: CheckSecret, read: ReadSecret = read_secret) -> None:
        """Read the file. `setting`: its name for the log, with that of its provider.

        `check` raises ValueError for an unusable secret. Raises OSError, UnicodeDecodeError and ValueError.
        """
        self._path = path
        self._setting = setting
        self._check = check
        self._read = read
        self._former = ""
        self._fault = ""
        self._reading = Lock()  # the poll and calls with status 401 use different threads
        self._loaded: object = None
        self._seen: object = None
        self._value = self._content()
        super().__init__(self._value)

    def get_secret_value(self) -> str:
        return self._value

    @property
    def values(self) -> tuple[str, ...]:
        """The secret, and the one before it, which late responses can still quote. Messages must not contain them."""
        return (self._value, self._former) if self._former else (self._value,)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, SecretStr) and self.get_secret_value() == other.get_secret_value()

    def __hash__(self) -> int:
        return hash(self.get_secret_value())

    def poll(self) -> None:
        """Load the file if it has changed since it was loaded, and not since the last poll: it may be half-written."""
        found = stamp(self._path)
        if found == self._loaded:
            return
        if found == self._seen:
            self.reload()
        self._seen = found

    def reload(self) -> None:
        """Load the file. If that fails, the secret stays the same, and the reason is logged once."""
        with self._reading:
            found = stamp(self._path)
            try:
                content, fault = self._content(), ""
            except OSError as error:
                content, fault = self._value, f"cannot be read: {error.strerror}"
            except UnicodeDecodeError:
                content, fault = self._value, "is not a UTF-8 text file"
            except ValueError as error:
                content, fault = self._value, f"its content {error}"
            self._loaded = found
            self._report(fault, is_new=content != self._value)
            if content != self._value:
                self._value, self._former = content, self._value

    def _content(self) -> str:
        return self._check(SecretStr(self._read(self._path).strip())).get_secret_value()

    def _report(self, fault: str, *, is_new: bool) -> None:
        if fault and fault != self._fault:
            _log.warning("%s: %s: %s; the previous secret is still used", self._setting, self._path, fault)
        elif is_new:
            _log.info("%s: %s: the file has changed; the new secret is used", self._setting, self._path)
        self._fault = fault


def values_of(secret: SecretStr) -> tuple[str, ...]:
    """Return all texts of a secret that messages must not contain."""
    return secret.values if isinstance(secret, SecretFile) else (secret.get_secret_value(),)
