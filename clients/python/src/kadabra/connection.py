"""One connection to the agent or to a Redis: connecting, saying the password, pushing, reading answers.

Waits are cut into short ones, between which the thread that waits looks after the buffer.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Sequence
from typing import Callable, Optional

from .lookup import Address, Lookup

#: Where an agent that was installed as a service listens, if it was told to.
LOCAL_SOCKET = "/run/kadabra/kadabra.sock"

#: How long a connection may take to be made, and its first answer to come, in seconds.
CONNECT_TIMEOUT = 1.0

#: How long one wait may take, in seconds, until the buffer is looked after.
_STEP = 0.05

#: An answer is one short line.
_LONGEST_ANSWER = 64 * 1024

#: How much of a refusal is said in the log, in characters.
_LONGEST_SAID = 300

#: A connection that has broken is an error, and no signal that ends a program which has not told Python to ignore it.
_NO_SIGNAL = getattr(socket, "MSG_NOSIGNAL", 0)

_NOT_REDIS = "what answers there does not speak the protocol of Redis"


class Refused(Exception):
    """The server answered with an error."""

    @property
    def concerns_the_command(self) -> bool:
        """Whether the command itself may be at fault, rather than the state or the rights that something else must mend."""
        return str(self).startswith("ERR ")

    @property
    def says_too_large(self) -> bool:
        """Whether the message is larger than the agent or a Redis takes."""
        return "are more than" in str(self) or "exceeds" in str(self)


class Endpoint:
    """Where to push to, and how to be let in. ``path`` is a Unix socket; with ``find_local`` the agent's usual one is taken
    if it is there and may be used."""

    def __init__(
        self,
        host: str,
        port: int,
        db: int,
        path: Optional[str],
        username: Optional[str],
        password: Optional[str],
        password_file: Optional[str],
        find_local: bool,
    ) -> None:
        self.host = host
        self.port = port
        self.db = db
        self.path = path
        self.username = username
        self.password = password
        self.password_file = password_file
        self.find_local = find_local

    def __str__(self) -> str:
        if self.path:
            return self.path
        host = "[%s]" % self.host if ":" in self.host else self.host
        return "%s:%d" % (host, self.port)

    def use_local(self) -> None:
        """Takes the agent's usual socket, if that is wanted and this process may use it. It stays with that, also while an
        agent that is restarted has taken the socket away."""
        if self.find_local and self.path is None and os.access(LOCAL_SOCKET, os.W_OK):
            self.path = LOCAL_SOCKET

    def greeting(self) -> list[bytes]:
        """The commands that a connection begins with. The last only asks whether the server answers, before it is trusted
        with messages."""
        commands = []
        password = self.password
        if self.password_file:
            # Read anew each time, so that it can be changed.
            with open(self.password_file, encoding="utf-8") as file:
                password = file.read()
            password = password[:-1] if password.endswith("\n") else password
        if password is not None:
            words = [self.username, password] if self.username else [password]
            commands.append(command([b"AUTH", *(word.encode() for word in words)]))
        if self.db:
            commands.append(command([b"SELECT", b"%d" % self.db]))
        commands.append(command([b"PING"]))
        return commands


def command(words: Sequence[bytes]) -> bytes:
    """A command as it goes over the wire."""
    return b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%s\r\n" % (len(word), word) for word in words)


class Connection:
    """A connection, which is made by :meth:`open`.

    :param between: called at least every 50 ms while this waits, or every second while it connects.
    """

    def __init__(self, endpoint: Endpoint, lookup: Lookup, between: Callable[[], None]) -> None:
        self._endpoint = endpoint
        self._lookup = lookup
        self._between = between
        self._unread = b""
        # Here as soon as it is there, so that a child that is forked meanwhile can close it.
        self._socket: Optional[socket.socket] = None

    def open(self, timeout: float = CONNECT_TIMEOUT) -> None:
        """Connects, says the password, and has the server answer.

        :param timeout: how long the name's lookup, a connection to each address, and the first answer may take, in seconds.
        :raises OSError: if no connection can be made, or no answer comes.
        :raises Refused: if the server does not let this client in.
        """
        self._connect(timeout)
        for answer in self.ask(self._endpoint.greeting(), timeout, str):
            if isinstance(answer, Refused) and not str(answer).startswith("NOPERM"):
                raise answer

    def _connect(self, timeout: float) -> None:
        self._endpoint.use_local()
        addresses: Sequence[Address] = [(socket.AF_UNIX, socket.SOCK_STREAM, 0, "", self._endpoint.path or "")]
        if self._endpoint.path is None:
            addresses = self._lookup.addresses(self._endpoint.host, self._endpoint.port, timeout, _STEP, self._between)
        failure = OSError("the name has no address")
        for family, kind, protocol, _, address in addresses:
            try:
                self._socket = socket.socket(family, kind, protocol)
                self._socket.settimeout(timeout)
                self._socket.connect(address)
            except OSError as error:
                failure = error
                self.close()
                self._between()
                continue
            if family != socket.AF_UNIX:
                self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._socket.settimeout(_STEP)
            return
        raise failure

    def ask(self, commands: Sequence[bytes], timeout: float, kind: type) -> list[object]:
        """Sends commands in one go, and returns their answers: of the kind that is right for them, or a :class:`Refused`.

        :raises OSError: if they do not all come within ``timeout`` seconds, or are others. Then nothing is known of them.
        """
        deadline = time.monotonic() + timeout
        if self._socket is None or self._unread:
            raise OSError(_NOT_REDIS)
        self._send(self._socket, b"".join(commands), deadline)
        answers = [self._answer(self._socket, deadline) for _ in commands]
        if not all(isinstance(answer, (kind, Refused)) for answer in answers):
            raise OSError(_NOT_REDIS)
        return answers

    def _send(self, connected: socket.socket, data: bytes, deadline: float) -> None:
        left = memoryview(data)
        while True:
            try:
                left = left[connected.send(left, _NO_SIGNAL) :]
            except socket.timeout:
                pass
            if not left:
                return
            self._wait_on(deadline)

    def _answer(self, connected: socket.socket, deadline: float) -> object:
        while b"\r\n" not in self._unread:
            try:
                more = connected.recv(65536)
                if not more:
                    raise ConnectionResetError("the connection was closed by the other side")
                self._unread += more
            except socket.timeout:
                pass
            if len(self._unread) > _LONGEST_ANSWER:
                raise OSError(_NOT_REDIS)
            if b"\r\n" not in self._unread:
                self._wait_on(deadline)
        line, self._unread = self._unread.split(b"\r\n", 1)
        kind, text = line[:1], line[1:].decode("utf-8", "replace")
        if kind == b"-":
            return Refused("".join(c if c.isprintable() else "?" for c in text[:_LONGEST_SAID]))
        if kind == b":" and text.isdigit():
            return int(text)
        if kind == b"+":
            return text
        raise OSError(_NOT_REDIS)

    def _wait_on(self, deadline: float) -> None:
        self._between()
        if time.monotonic() > deadline:
            raise TimeoutError("no answer came in time")

    def close(self) -> None:
        """Closes the connection, without a word to the other side."""
        try:
            if self._socket is not None:
                self._socket.close()
        except OSError:
            pass

    def forget(self) -> None:
        """Closes this process's copy of a connection that belongs to the process it was forked from."""
        try:
            if self._socket is not None:
                os.close(self._socket.detach())
        except OSError:
            pass
