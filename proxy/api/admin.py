"""The permission for endpoints of administrators."""

from __future__ import annotations

from proxy.access import Caller
from proxy.config import Config
from proxy.errors import Forbidden, InvalidKey


def check_is_admin(caller: Caller, config: Config) -> None:
    """Raises InvalidKey and Forbidden.

    Without any keys, all callers are administrators while the proxy listens on loopback only, because they are users of
    the machine.
    """
    if caller.admin or (config.is_open and not config.server.allow_anonymous):
        return
    if caller.name is None and not config.is_open:
        raise InvalidKey  # 401: a key can have the permission
    if caller.is_user:
        raise Forbidden("This user is not an administrator (`admin` of the login in `auth`).")
    raise Forbidden(_WITHOUT_KEYS if config.is_open else "This API key is not an admin key (`admin: true`).")


_WITHOUT_KEYS = (
    "This endpoint needs an admin key, but this proxy has no API keys configured and accepts requests from other "
    "machines; its administrator can add a key with `admin: true`."
)
