"""How long the next attempt waits while none succeeds, and what is said of that in the log: once each time."""

from __future__ import annotations

import logging
import random
import time
from typing import Optional

from .connection import Endpoint

#: The pauses between attempts, in seconds: doubled from the first to the last.
FIRST_PAUSE = 0.05
_LAST_PAUSE = 2.0

#: An outage that ends sooner is not said, in seconds: a restart of the agent is no news.
_UNTOLD = 1.0


class Outage:
    """The time since a push last succeeded.

    :param buffer_messages: how many messages may wait meanwhile; it is only said.
    """

    def __init__(self, endpoint: Endpoint, buffer_messages: int, logger: logging.Logger) -> None:
        self._endpoint = endpoint
        self._buffer_messages = buffer_messages
        self._logger = logger
        self._failures = 0
        self._since: Optional[float] = None
        self._told = False
        self._drops_told = False

    def has_failed(self, error: Exception, drops: bool) -> None:
        """An attempt has failed. ``drops`` is whether messages were dropped that the agent has not been told of."""
        self._failures += 1
        now = time.monotonic()
        if self._since is None:
            self._since = now
        if not self._told and now - self._since > _UNTOLD:
            self._told = True
            self._logger.warning(
                "messages cannot be pushed to %s and wait: %s; when %d wait, the oldest are dropped",
                self._endpoint,
                error or type(error).__name__,
                self._buffer_messages,
            )
        if drops and not self._drops_told:
            self._drops_told = True
            self._logger.warning("messages are dropped, since none can be pushed to %s: %s", self._endpoint, error)

    def is_over(self) -> None:
        """An attempt has succeeded."""
        self._failures = 0
        if self._since is None:
            return
        if self._told or self._drops_told:
            took = time.monotonic() - self._since
            self._logger.warning("messages are pushed to %s again, after %.1f s", self._endpoint, took)
        self._since = None
        self._told = self._drops_told = False

    def pause(self) -> float:
        """How long to wait before the next attempt, in seconds, with a random part, so that many processes do not come at once."""
        return min(_LAST_PAUSE, FIRST_PAUSE * 2.0 ** min(self._failures - 1, 10)) * random.uniform(0.5, 1.0)
