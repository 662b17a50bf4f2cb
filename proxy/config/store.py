"""The section `store`: where model lists and other state are kept outside the process."""

from __future__ import annotations

from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator, SecretStr

from proxy.config.fields import Name, NotEmpty, Seconds, Settings, check_filled
from proxy.config.misplaced import no_secret
from proxy.config.secret_files import SecretFile

_SCHEMES = ("redis", "rediss", "sentinel", "sentinels")
_FORMS = (
    "must be redis://host:6379, rediss://host:6379 (TLS), or sentinel://host1,host2/name (Sentinel; sentinels:// with "
    "TLS), with `user:password@` before the host if necessary"
)


def _is_path(text: str) -> str:
    if "\0" in text:
        raise ValueError("must be the path of a directory")
    if text.startswith("~"):
        raise ValueError("must be the path of a directory without `~`, which is not replaced; write ${HOME}")
    return no_secret(text)


def valkey_url(secret: SecretStr) -> SecretStr:
    """The address of a Valkey or Redis server, or of its sentinels."""
    if not _is_valkey_url(secret.get_secret_value()):
        raise ValueError(_FORMS)
    return secret


def _is_valkey_url(text: str) -> bool:
    if any(character <= " " or character == "\x7f" for character in text):
        return False
    try:
        url = urlsplit(text)
        addresses = [urlsplit(f"//{each}") for each in url.netloc.rpartition("@")[2].split(",")]
        has_addresses = all(address.hostname and address.port != 0 for address in addresses)
    except ValueError:
        return False
    path = url.path.strip("/")
    if url.scheme not in _SCHEMES or url.query or url.fragment or not has_addresses:
        return False
    if url.scheme.startswith("sentinel"):
        return bool(path) and "/" not in path
    return len(addresses) == 1 and (not path or path.isdecimal())


def _lease(seconds: float) -> float:
    if not 1 <= seconds <= 600:
        raise ValueError("must be a duration from 1s to 10m")
    return seconds


class StoreSettings(Settings):
    """Where state is kept outside the process. Replicas with the same `valkey` share their state."""

    directory: Annotated[NotEmpty, AfterValidator(_is_path)] | None = None
    """A directory for this process alone, which contains the last lists for the next start."""
    valkey: Annotated[SecretStr, AfterValidator(valkey_url)] | None = None
    """The address of a Valkey or Redis server, or of its sentinels; it can contain a password."""
    valkey_password: Annotated[SecretStr, AfterValidator(check_filled)] | None = None
    valkey_password_file: NotEmpty | None = None
    valkey_ca_file: NotEmpty | None = None
    namespace: Name | None = None
    """What is shared between replicas, except for model lists, which depend on the settings of their provider alone."""
    lease: Annotated[Seconds, AfterValidator(_lease)] = 10.0
    """How long after the death of a replica that fetches a list another one does."""

    @property
    def secret_files(self) -> tuple[SecretFile, ...]:
        """The password, if it is in a file."""
        return (self.valkey_password,) if isinstance(self.valkey_password, SecretFile) else ()
