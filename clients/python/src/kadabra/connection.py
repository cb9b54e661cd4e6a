"""One connection to the agent or to a Redis: connecting, saying the password, pushing, reading answers.

Waits are cut into short ones, between which the thread that waits looks after the buffer.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Sequence
from typing import Callable, Optional

#: Where an agent that was installed as a service listens, if it was told to.
LOCAL_SOCKET = "/run/kadabra/kadabra.sock"

#: How long a connection may take to be made, and its first answer to come, in seconds.
CONNECT_TIMEOUT = 1.0

#: How long one wait may take, in seconds, until the buffer is looked after.
_STEP = 0.05

#: An answer is one short line.
_LONGEST_ANSWER = 64 * 1024


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
    if it is there."""

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

    def open(self, timeout: float) -> socket.socket:
        """A connected socket, within so many seconds. The name is resolved each time, which may take longer."""
        if self.find_local and self.path is None and os.path.exists(LOCAL_SOCKET):
            # It stays with that, also while an agent that is restarted has taken it away.
            self.path = LOCAL_SOCKET
        if self.path is None:
            connected = socket.create_connection((self.host, self.port), timeout)
            connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            return connected
        unix = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            unix.settimeout(timeout)
            unix.connect(self.path)
        except BaseException:
            unix.close()
            raise
        return unix

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
    """A connection that the server has answered on.

    :param between: called at least every 50 ms while this waits.
    :param timeout: how long it may take to be made, and its first answer to come, in seconds.
    :raises OSError: if no connection can be made, or no answer comes.
    :raises Refused: if the server does not let this client in.
    """

    def __init__(self, endpoint: Endpoint, between: Callable[[], None], timeout: float = CONNECT_TIMEOUT) -> None:
        self._between = between
        self._unread = b""
        self._socket = endpoint.open(timeout)
        try:
            self._socket.settimeout(_STEP)
            greeting = endpoint.greeting()
            for answer in self.ask(greeting, timeout):
                if isinstance(answer, Refused) and not str(answer).startswith("NOPERM"):
                    raise answer
        except BaseException:
            self.close()
            raise

    def ask(self, commands: Sequence[bytes], timeout: float) -> list[object]:
        """Sends commands in one go, and returns their answers: a number, a text or a :class:`Refused` each.

        :raises OSError: if they do not all come within ``timeout`` seconds. Then nothing is known of them.
        """
        deadline = time.monotonic() + timeout
        self._send(b"".join(commands), deadline)
        return [self._answer(deadline) for _ in commands]

    def _send(self, data: bytes, deadline: float) -> None:
        left = memoryview(data)
        while left:
            try:
                left = left[self._socket.send(left) :]
            except socket.timeout:
                self._wait_on(deadline)

    def _answer(self, deadline: float) -> object:
        while b"\r\n" not in self._unread:
            if len(self._unread) > _LONGEST_ANSWER:
                raise OSError("what answers there does not speak the protocol of Redis")
            try:
                more = self._socket.recv(65536)
            except socket.timeout:
                self._wait_on(deadline)
                continue
            if not more:
                raise ConnectionResetError("the connection was closed by the other side")
            self._unread += more
        line, self._unread = self._unread.split(b"\r\n", 1)
        kind, text = line[:1], line[1:].decode("utf-8", "replace")
        if kind == b"-":
            return Refused(text)
        if kind == b":":
            return int(text)
        if kind == b"+":
            return text
        raise OSError("what answers there does not speak the protocol of Redis")

    def _wait_on(self, deadline: float) -> None:
        self._between()
        if time.monotonic() > deadline:
            raise TimeoutError("no answer came in time")

    def close(self) -> None:
        """Closes the connection, without a word to the other side."""
        try:
            self._socket.close()
        except OSError:
            pass

    def forget(self) -> None:
        """Closes this process's copy of a connection that belongs to the process it was forked from."""
        try:
            os.close(self._socket.detach())
        except OSError:
            pass
