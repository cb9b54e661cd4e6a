"""Metrics of an application, handed to Kadabra's agent without making the application wait or fail.

The names are those of the original Kadabra 0.5, so that code which uses it needs no change. A tour:

- ``client``: what an application calls: :class:`Kadabra`, and the collector that it makes.
- ``metrics``: one message and what it consists of, and how it is written down.
- ``channels``: the settings of the way to the agent.
- ``sender``: the bounded buffer of a process and the thread that empties it.
- ``encoding``, ``drops``, ``outage``: what of a message waits there, what is counted as dropped, and what is said and waited
  while nothing can be pushed.
- ``connection``, ``lookup``: one connection to the agent or a Redis, and the addresses of a name.
- ``request``: what all middleware measures of a request; ``wsgi``, ``asgi`` and ``django`` are for their frameworks,
  and the package ``flask_kadabra`` is for Flask.
"""

from __future__ import annotations

from typing import Any

from .client import Kadabra
from .metrics import Counter, Dimension, Metrics, Timer, Unit, Units

__version__ = "0.6.0"

__all__ = ["Agent", "Counter", "Dimension", "Kadabra", "Metrics", "Timer", "Unit", "Units"]


class Agent:
    """The original package has an agent, too. Here the agent is a program of its own."""

    def __init__(self, configuration: Any = None) -> None:
        raise NotImplementedError(
            "kadabra-metrics has no agent written in Python; run the program `kadabra run` instead, and see its docs/migration.md"
        )
