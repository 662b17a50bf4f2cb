"""The client of Valkey and Redis: addresses, TLS, Sentinel, passwords; commands with a time limit.

The only module that imports redis. Errors become `Unavailable`, with a reason that contains no secret.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import suppress
from typing import Any
from urllib.parse import unquote, urlsplit

import certifi
from pydantic import SecretStr
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import MasterNotFoundError, Sentinel
from redis.backoff import NoBackoff
from redis.credentials import CredentialProvider
from redis.exceptions import (
    AuthenticationError,
    BusyLoadingError,
    NoPermissionError,
    OutOfMemoryError,
    ReadOnlyError,
    RedisError,
    ResponseError,
)
from redis.exceptions import ConnectionError as RedisConnectionError

from proxy.config.secret_files import SecretFile
from proxy.config.store import StoreSettings

MAX_COMMANDS = 8
"""Commands at a time. Further ones wait for half of their time limit."""
_MAX_CONNECTIONS = MAX_COMMANDS + 8
_CONNECT_SECONDS = 2.0
_IO_SECONDS = 5.0
"""The limits of the client itself. Commands have shorter ones."""
_SENTINEL_SECONDS = 0.3
_PORTS = {"redis": 6379, "rediss": 6379, "sentinel": 26379, "sentinels": 26379}
_ERRORS: Sequence[tuple[type[Exception], str]] = (
    (AuthenticationError, "authentication failed: check the user and password"),
    (NoPermissionError, "a command is not permitted: check the permissions of the user"),
    (ReadOnlyError, "read-only: it is a replica"),
    (OutOfMemoryError, "out of memory (maxmemory)"),
    (BusyLoadingError, "loading its data"),
    (MasterNotFoundError, "Sentinel has no reachable master"),
    (RedisConnectionError, "connection refused or lost"),
    (TimeoutError, "timed out"),
    (OSError, "connection refused or lost"),
)
_SCRIPT_FAILED = re.compile(r"user_script:|Error running script(?!.* -[A-Z]{3,} )", re.DOTALL)
"""The error of a script, without `ERR`. Before version 7, errors of the server (`-OOM`) are quoted in such texts."""


class Unavailable(Exception):
    """A command failed; `reason` is a phrase for operators, without secrets."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class Overloaded(Exception):
    """There are too many commands in progress. The server may work."""


class ForeignValue(Exception):
    """A key has a value that another program, or another version, must have written; `what` is a phrase about it."""

    def __init__(self, what: str) -> None:
        super().__init__(what)
        self.what = what


class _Login(CredentialProvider):
    """The user of the URL, and the password. Its file is read again for each connection."""

    def __init__(self, user: str, password: SecretStr) -> None:
        self._user, self._password = user, password

    def get_credentials(self) -> tuple[str] | tuple[str, str]:
        password = self._password.get_secret_value()
        return (self._user, password) if self._user else (password,)

    async def get_credentials_async(self) -> tuple[str] | tuple[str, str]:
        if isinstance(self._password, SecretFile):
            await asyncio.to_thread(self._password.reload)
        return self.get_credentials()


class Client:
    """Runs commands. Connections are opened when they are needed."""

    def __init__(self, settings: StoreSettings) -> None:
        self._redis, self._sentinels = _connections(settings)
        self._slots = asyncio.Semaphore(MAX_COMMANDS)

    async def command(self, *parts: str | bytes | int, seconds: float) -> Any:
        """Run one command. Raises Overloaded, Unavailable and ForeignValue."""
        return await self._in_turn(lambda: self._redis.execute_command(*parts), seconds)

    async def run(self, script: str, keys: str | Sequence[str], *arguments: str | bytes | int, seconds: float) -> Any:
        """Run a script for one key, or several. Raises Overloaded, Unavailable and ForeignValue."""
        call = self._redis.register_script(script)
        names = [keys] if isinstance(keys, str) else [*keys]
        return await self._in_turn(lambda: call(keys=names, args=[*arguments]), seconds)

    async def batch(self, commands: Sequence[Sequence[str | bytes | int]], *, seconds: float) -> list[Any]:
        """Run several commands at once. Raises Unavailable and ForeignValue."""
        pipeline = self._redis.pipeline(transaction=False)
        for parts in commands:
            pipeline.execute_command(*parts)
        result: list[Any] = await self._in_turn(pipeline.execute, seconds)
        return result

    async def messages(self, *channels: str, seconds: float) -> AsyncIterator[tuple[str, bytes] | None]:
        """Subscribe, and yield each message with its channel; None first, and after `seconds` without a message.

        Raises Unavailable.
        """
        pubsub = self._redis.pubsub(ignore_subscribe_messages=True)
        try:
            await _limited(pubsub.subscribe(*channels), _CONNECT_SECONDS)
            yield None
            while True:
                message = await _limited(pubsub.get_message(timeout=seconds), seconds + _IO_SECONDS)
                yield (message["channel"].decode(), message["data"]) if message else None
        finally:
            await _close(pubsub)

    async def _in_turn(self, start: Callable[[], Awaitable[Any]], seconds: float) -> Any:
        """Raises Overloaded, Unavailable and ForeignValue."""
        loop = asyncio.get_running_loop()
        ends_at = loop.time() + seconds
        try:
            async with asyncio.timeout(seconds / 2):
                await self._slots.acquire()
        except TimeoutError:
            raise Overloaded from None
        try:
            return await _limited(start(), ends_at - loop.time())
        finally:
            self._slots.release()

    async def disconnect(self) -> None:
        """Close all connections: the next command opens a new one, with Sentinel to the current master."""
        await self._redis.connection_pool.disconnect()

    async def close(self) -> None:
        for client in (self._redis, *self._sentinels):
            await client.aclose(close_connection_pool=True)


async def _limited(command: Any, seconds: float) -> Any:
    """Return the result of a command. Raises Unavailable and ForeignValue."""
    task = asyncio.current_task()
    cancellations = task.cancelling() if task else 0  # at shutdown, the task was already canceled once
    try:
        async with asyncio.timeout(seconds):
            return await command
    except (RedisError, OSError) as error:
        if what := _foreign(error):
            raise ForeignValue(what) from None
        raise Unavailable(_reason(error)) from None
    finally:
        # The client drops a cancellation that arrives while it opens or closes a connection.
        if task and task.cancelling() > cancellations:
            raise asyncio.CancelledError


def _foreign(error: Exception) -> str:
    """Return a phrase if a command or a script has met a value that it cannot use: the server itself works."""
    text = str(error) if isinstance(error, ResponseError) else ""
    if "WRONGTYPE " in text:
        return "a key has a value of another type"
    return "a script cannot read the value of a key" if _SCRIPT_FAILED.match(text) else ""


def _reason(error: Exception) -> str:
    """Return a phrase without the text of the error, which can contain an address with a password."""
    for kind, reason in _ERRORS:
        if isinstance(error, kind):
            return reason
    code = str(error).partition(" ")[0]
    return f"returned the error {code}" if code.isalpha() and code.isupper() else f"failed ({type(error).__name__})"


async def _close(pubsub: Any) -> None:
    with suppress(RedisError, OSError):
        await pubsub.aclose()


def _connections(settings: StoreSettings) -> tuple[Redis, Sequence[Redis]]:
    """The client of the server, and those of its sentinels."""
    assert settings.valkey is not None, "checked by the caller"
    url = urlsplit(settings.valkey.get_secret_value())
    login = _Login(unquote(url.username or ""), settings.valkey_password) if settings.valkey_password else None
    tls: dict[str, Any] = {}
    if url.scheme in ("rediss", "sentinels"):
        tls = {"ssl": True, "ssl_ca_certs": settings.valkey_ca_file or certifi.where()}
    options: dict[str, Any] = {
        "credential_provider": login,
        "socket_connect_timeout": _CONNECT_SECONDS,
        "socket_timeout": _IO_SECONDS,
        "retry": Retry(NoBackoff(), 0),
        "protocol": 2,
        **tls,
    }
    path = url.path.strip("/")
    if url.scheme in ("redis", "rediss"):
        ((host, port),) = _addresses(url.netloc, _PORTS[url.scheme])
        return Redis(host=host, port=port, db=int(path or "0"), max_connections=_MAX_CONNECTIONS, **options), ()
    # Without the password of the server; the next sentinel is queried before a probe of the server ends.
    short = {"socket_connect_timeout": _SENTINEL_SECONDS, "socket_timeout": _SENTINEL_SECONDS}
    sentinel_options = {**options, **short, "credential_provider": None}
    sentinels = Sentinel(_addresses(url.netloc, _PORTS[url.scheme]), sentinel_kwargs=sentinel_options, **options)
    master: Redis = sentinels.master_for(path, max_connections=_MAX_CONNECTIONS)
    return master, sentinels.sentinels


def _addresses(netloc: str, default_port: int) -> list[tuple[str, int]]:
    """Return hosts and ports of `user:password@host:port,host`; IPv6 addresses are in brackets."""
    result = []
    for address in netloc.rpartition("@")[2].split(","):
        parts = urlsplit(f"//{address}")
        result.append((parts.hostname or "", parts.port or default_port))
    return result
