"""The settings of the way to the agent."""

from __future__ import annotations

import logging
from typing import Any, Optional

from .connection import Endpoint
from .metrics import Metrics
from .sender import Limits, Sender, shared_sender


class RedisChannel:
    """The way to an agent, or to a Redis from which agents take messages. Channels of the same settings share one buffer,
    one thread and one connection in each process.

    :param host: of the agent or the Redis. Where neither this nor ``port``, ``db`` and ``unix_socket_path`` are given and
        an agent of this machine has its usual socket, /run/kadabra/kadabra.sock, that is used if this process may.
    :param logger: the name of the logger to use.
    :param queue_key: the agent's ``queue_key``.
    :param inprogress_key: has no effect; it is the agent's.
    :param unix_socket_path: a socket in the file system in place of ``host`` and ``port``.
    :param password_file: a file with the password, read at each connecting.
    :param buffer_messages: how many messages may wait in a process, 1 or more, those included that were pushed and not
        answered; and as many that came within the last fraction of a second. With each further one the oldest is dropped
        that has not been pushed.
    :param buffer_bytes: how many bytes of them.
    :param timeout: how long an answer may take, in seconds, until the push is made again.
    :param exit_timeout: how long the end of a process may wait for what is left, in seconds.
    :raises TypeError: for a parameter that is not one of these, :class:`ValueError` for a value that it cannot have.
    """

    #: What is used where nothing else is configured. A client adds ``find_local``.
    DEFAULT_ARGS: dict[str, Any] = {
        "host": "localhost",
        "port": 6379,
        "db": 0,
        "logger": "kadabra.channel",
        "queue_key": "kadabra_queue",
        "inprogress_key": "kadabra_inprogress",
    }

    def __init__(
        self,
        host: str,
        port: int,
        db: int,
        logger: str,
        queue_key: str,
        inprogress_key: str,
        *,
        unix_socket_path: Optional[str] = None,
        username: Optional[str] = None,
        password: Optional[str] = None,
        password_file: Optional[str] = None,
        buffer_messages: int = 10_000,
        buffer_bytes: int = 16 * 1024 * 1024,
        timeout: float = 5.0,
        exit_timeout: float = 2.0,
        find_local: bool = False,
    ) -> None:
        if buffer_messages < 1 or buffer_bytes < 1:
            raise ValueError("buffer_messages and buffer_bytes must be 1 or more")
        for name, word in [("username", username), ("password", password)]:
            if not isinstance(word, (str, type(None))):
                raise TypeError("%s must be a str" % name)
        self.logger = logging.getLogger(logger)
        self.queue_key = queue_key
        self.inprogress_key = inprogress_key
        self._limits = Limits(int(buffer_messages), int(buffer_bytes), float(timeout), float(exit_timeout))
        self._client: Any = None
        self._use(Endpoint(str(host), int(port), int(db), unix_socket_path, username, password, password_file, find_local))

    def _use(self, endpoint: Endpoint) -> None:
        self._sender: Sender = shared_sender(endpoint, self.queue_key, self._limits, self.logger)

    def send(self, metrics: Metrics) -> None:
        """Leaves a message for the thread that pushes it. Never raises and never waits."""
        self._sender.send(metrics)

    @property
    def client(self) -> Any:
        """A client of redis-py that was assigned here. The original has one; here only its address and password are taken
        from it, so that code which replaced it goes on working.

        :raises ValueError: for one that uses TLS, Sentinel, or a provider of credentials.
        """
        return self._client

    @client.setter
    def client(self, client: Any) -> None:
        pool = client.connection_pool
        told = pool.connection_kwargs
        plain = not told.get("credential_provider") and "SSL" not in getattr(getattr(pool, "connection_class", None), "__name__", "")
        if not plain or "sentinel" in type(pool).__name__.lower():
            raise ValueError("kadabra-metrics speaks neither TLS nor with Sentinel; push to the agent of this machine")
        host, port, db = told.get("host") or "localhost", told.get("port") or 6379, told.get("db") or 0
        username, password = (_decoded(told.get(name)) for name in ("username", "password"))
        self._use(Endpoint(host, port, db, told.get("path"), username, password, None, False))
        self._client = client

    def flush(self, timeout: float) -> bool:
        """Waits until all is answered for, at most so many seconds. Returns whether nothing is left."""
        return self._sender.flush(timeout)

    def stats(self) -> dict[str, int]:
        """What became of the messages of this process."""
        return self._sender.stats()

    def report_dimensions(self, dimensions: dict[str, str]) -> None:
        """Which dimensions the metric about dropped messages has, besides the reason, unless another client has said so."""
        self._sender.report_dimensions = self._sender.report_dimensions or {str(name): str(dimensions[name]) for name in dimensions}


def _decoded(word: Any) -> Optional[str]:
    """A user's name or password as text. To redis-py it may also be bytes or a number."""
    return word.decode() if isinstance(word, bytes) else None if word is None else str(word)
