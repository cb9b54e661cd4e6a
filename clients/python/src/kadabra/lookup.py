"""Looks the name of a host up, for no longer than wanted: a name server that does not answer holds ``getaddrinfo`` for as long as
the machine is configured to ask, often half a minute and more."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Sequence
from typing import Any, Callable, Optional, Union

#: What ``getaddrinfo`` returns for each address.
Address = tuple[int, int, int, str, Any]


class Lookup:
    """One lookup at a time, in a thread of its own. One that took too long is waited for by the next attempt, instead of a
    second one being made; each attempt after that asks anew, so that an address that has changed is found."""

    def __init__(self) -> None:
        self._done: Optional[threading.Event] = None
        self._found: Union[Sequence[Address], OSError] = []
        self._last: Sequence[Address] = []

    def addresses(self, host: str, port: int, timeout: float, step: float, between: Callable[[], None]) -> Sequence[Address]:
        """The addresses of a host.

        :param timeout: how long it may take, in seconds. Where no thread can be started, it may take longer.
        :param between: called every ``step`` seconds.
        :raises OSError: if there is none, or it takes too long.
        """
        for family in (socket.AF_INET, socket.AF_INET6):
            try:
                socket.inet_pton(family, host)
            except (OSError, ValueError):
                continue
            # A number, for which nobody needs to be asked.
            return [(family, socket.SOCK_STREAM, 0, "", (host, port))]
        deadline = time.monotonic() + timeout
        if self._done is None:
            done = threading.Event()
            try:
                threading.Thread(target=self._look_up, args=(host, port, done), name="kadabra lookup", daemon=True).start()
            except RuntimeError:
                self._look_up(host, port, done)
            self._done = done
        while not self._done.wait(min(step, max(0.001, deadline - time.monotonic()))):
            between()
            if time.monotonic() > deadline:
                raise TimeoutError("looking up the name %s takes long" % host)
        self._done = None
        if isinstance(self._found, OSError):
            raise self._found
        self._last = self._found
        return self._found

    def _look_up(self, host: str, port: int, done: threading.Event) -> None:
        try:
            self._found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except OSError as error:
            self._found = error
        except Exception as error:
            # What cannot be a name, or gevent's resolver at the end of a process.
            self._found = self._last or OSError("%s cannot be looked up: %s" % (host, error))
        done.set()
