"""The listening sockets of the server: TCP, a Unix socket, or those that systemd hands down."""

from __future__ import annotations

import ctypes
import errno
import os
import socket
import stat
import struct
import sys
from collections.abc import Iterator, Mapping, MutableMapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from functools import partial

from proxy.config.addresses import UNIX

_FIRST_HANDED_DOWN = 3
"""The number of the first descriptor that systemd hands down (SD_LISTEN_FDS_START)."""
_HANDOVER = ("LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES")
_PROBE_SECONDS = 1.0
_SO_ATTACH_FILTER = 26
_INSTRUCTIONS = 4
_DROP_SYN = ctypes.create_string_buffer(
    struct.pack(
        "=" + "HBBI" * _INSTRUCTIONS,
        *(0x30, 0, 0, 13),  # load the flags of the TCP header;
        *(0x45, 0, 1, 0x02),  # with SYN, which opens a connection,
        *(0x06, 0, 0, 0),  # drop the packet,
        *(0x06, 0, 0, 0xFFFFFFFF),  # else accept it
    )
)
"""A filter of packets: an array of `struct sock_filter`."""
_AF_UNIX = getattr(socket, "AF_UNIX", None)  # not on Windows


class CannotListen(Exception):
    """Why the server cannot listen, and perhaps what to do."""

    def __init__(self, text: str, hint: str = "") -> None:
        super().__init__(text)
        self.hint = hint


@dataclass(frozen=True)
class Listeners:
    """Listening sockets."""

    sockets: Sequence[socket.socket]
    addresses: Sequence[str]
    """What they are bound to: IP addresses without ports, and `unix:PATH`."""
    ports: frozenset[int]
    handed_down: bool = False
    """Whether another process created the sockets, and keeps them open."""


def listeners_of(sockets: Sequence[socket.socket], *, handed_down: bool = False) -> Listeners:
    """Read once: the server closes the sockets when it stops."""
    ports = frozenset(each.getsockname()[1] for each in sockets if each.family != _AF_UNIX)
    return Listeners(sockets, [address_of(each) for each in sockets], ports, handed_down)


def address_of(listening: socket.socket) -> str:
    """The IP address that a socket is bound to, without its port, or `unix:PATH`."""
    name = listening.getsockname()
    return f"{UNIX}{_path(name)}" if listening.family == _AF_UNIX else str(name[0])


def _path(name: str | bytes) -> str:
    """The name of a Unix socket: a path, or `@` and a name without a file (Linux)."""
    text = os.fsdecode(name)
    return f"@{text[1:]}" if text.startswith("\0") else text


@contextmanager
def listening(
    host: str, port: int, mode: int = 0o660, environ: MutableMapping[str, str] = os.environ
) -> Iterator[Listeners]:
    """The sockets that systemd hands down; without them, sockets of this process. Raises CannotListen.

    `host`: an address, a name, or `unix:PATH`; `mode`: permissions of the file of a Unix socket. The file is removed
    at the end, if it is still that of this process.
    """
    with ExitStack() as stack:
        if sockets := handed_down(environ):
            listeners = listeners_of(sockets, handed_down=True)
        elif host.startswith(UNIX):
            path = host.removeprefix(UNIX)
            listeners = listeners_of([_listen_on_file(path, mode)])
            stack.callback(_remove, path, _identity(path))
        else:
            listeners = listeners_of(_listen(host, port))
        for each in listeners.sockets:
            stack.callback(each.close)
        yield listeners


def drop_new_connections(listening: socket.socket) -> None:
    """Let no client open another connection to a TCP socket that is about to be closed. Works on Linux only.

    A connection that is opened after the last `accept_waiting` would be reset by the closing, and its request lost.
    Instead, the client tries to connect again a second later, and is refused: then it can use another server.
    """
    if sys.platform == "linux" and listening.family in (socket.AF_INET, socket.AF_INET6):
        with suppress(OSError):  # some sandboxes do not allow it
            program = struct.pack("HP", _INSTRUCTIONS, ctypes.addressof(_DROP_SYN))
            listening.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, program)


def accept_waiting(listening: socket.socket) -> Iterator[socket.socket]:
    """Accept the connections that clients have opened already. `listening` must not block."""
    while True:
        try:
            connection, _ = listening.accept()
        except ConnectionAbortedError:
            continue  # the client has closed it
        except OSError:  # none is waiting, or there are no more descriptors
            return
        connection.setblocking(False)
        yield connection


# -- TCP ---------------------------------------------------------------------------------------------------------------


def _listen(host: str, port: int) -> list[socket.socket]:
    """Bind one socket for each address of the host."""
    try:
        addresses = socket.getaddrinfo(host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        return [socket.create_server(address, family=family) for family, *_, address in addresses]
    except OSError as error:
        raise CannotListen(f"cannot listen on {host}, port {port}: {_reason(error)}") from error


def _reason(error: OSError) -> str:
    return str(error.strerror).partition(" (while")[0]  # `socket.create_server` appends the address


# -- Unix sockets ------------------------------------------------------------------------------------------------------


def _listen_on_file(path: str, mode: int) -> socket.socket:
    """Bind a Unix socket, whose file replaces one on which nothing listens."""
    if _AF_UNIX is None:
        raise CannotListen(f"cannot listen on {UNIX}{path}: this system has no Unix sockets")
    listening = socket.socket(_AF_UNIX, socket.SOCK_STREAM)
    try:
        try:
            _bind(listening, path)
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise
            _remove_stale(path)
            _bind(listening, path)
        os.chmod(path, mode)
        listening.listen()
    except (OSError, CannotListen) as error:
        listening.close()
        why = str(error) if isinstance(error, CannotListen) else _reason(error)
        raise CannotListen(f"cannot listen on {UNIX}{path}: {why}") from error
    return listening


def _bind(listening: socket.socket, path: str) -> None:
    """Bind to a path. Until its permissions are set, no other user can connect."""
    umask = os.umask(0o177)
    try:
        listening.bind(path)
    finally:
        os.umask(umask)


def _remove_stale(path: str) -> None:
    """Remove the file of a socket that a process has left behind. Raises CannotListen if it is something else."""
    assert _AF_UNIX is not None, "there are Unix sockets"
    if not stat.S_ISSOCK(os.lstat(path).st_mode):
        raise CannotListen("the path exists and is not a socket; remove it, or set another path")
    with socket.socket(_AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(_PROBE_SECONDS)
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            os.unlink(path)
        except TimeoutError:
            raise CannotListen("another process is listening") from None
        else:
            raise CannotListen("another process is listening")


def _remove(path: str, identity: tuple[int, int] | None) -> None:
    """Remove a file, unless there is another one at its path."""
    if identity is not None and _identity(path) == identity:
        os.unlink(path)


def _identity(path: str) -> tuple[int, int] | None:
    """The identity of the file at a path, which differs for a replaced file; None if there is none."""
    with suppress(OSError):
        found = os.lstat(path)
        return found.st_dev, found.st_ino
    return None


# -- systemd -----------------------------------------------------------------------------------------------------------


def handed_down(environ: MutableMapping[str, str] = os.environ) -> list[socket.socket]:
    """The listening sockets that systemd hands down to this process (socket activation), [] if there are none.

    Removes the variables from the environment, because they are not for processes that this one starts. Raises
    CannotListen for a descriptor that is not a listening stream socket.
    """
    given = {name: environ.pop(name, "") for name in _HANDOVER}
    if given["LISTEN_PID"] != str(os.getpid()) or not given["LISTEN_FDS"].isdecimal():
        return []
    numbers = range(_FIRST_HANDED_DOWN, _FIRST_HANDED_DOWN + int(given["LISTEN_FDS"]))
    return [_adopt(number, given) for number in numbers]


def _adopt(number: int, given: Mapping[str, str]) -> socket.socket:
    names = given["LISTEN_FDNAMES"].split(":")
    position = number - _FIRST_HANDED_DOWN
    name = f" ({names[position]})" if position < len(names) and names[position] else ""
    fail = partial(_not_usable, f"file descriptor {number}{name}")
    try:
        os.set_inheritable(number, False)
        adopted = socket.socket(fileno=number)
    except OSError as error:
        raise fail(f"is not a socket ({error.strerror})") from None
    if adopted.type != socket.SOCK_STREAM or not adopted.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
        raise fail("is not a listening stream socket")
    adopted.setblocking(False)
    return adopted


def _not_usable(what: str, why: str) -> CannotListen:
    text = f"cannot use the sockets that were handed down (LISTEN_FDS): {what} {why}"
    return CannotListen(text, "use ListenStream= without Accept=yes in the socket unit")
