"""How many messages were dropped and why, and the messages that tell the agent of it."""

from __future__ import annotations

import json
import threading
import time

from .metrics import Counter, Dimension, Metrics, get_now

#: The counter that tells of dropped messages.
DROPPED = "KadabraClientDropped"

#: Why messages are dropped.
REASONS = ("buffer_full", "refused", "unencodable")

#: How long the next report waits after one, in seconds.
_BETWEEN_REPORTS = 1.0


class Drops:
    """Counts for all threads of a process. Only the sender's thread makes and settles reports."""

    def __init__(self) -> None:
        # A signal handler may count while its thread does.
        self._lock = threading.RLock()
        self._dropped = dict.fromkeys(REASONS, 0)
        self._reported = dict.fromkeys(REASONS, 0)
        # The reports that have been made and not answered, with what they report.
        self._reports: dict[bytes, tuple[str, int]] = {}
        self._last_report = 0.0

    def count(self, reason: str, count: int = 1) -> None:
        """Counts messages as dropped for one of :data:`REASONS`."""
        with self._lock:
            self._dropped[reason] += count

    def unreported(self) -> list[tuple[str, int]]:
        """How many were dropped for each reason that no report tells of yet."""
        with self._lock:
            counts = [(reason, self._dropped[reason] - self._reported[reason]) for reason in REASONS]
        return [(reason, count) for reason, count in counts if count]

    def untold(self) -> int:
        """How many dropped messages the agent is not known to have been told of."""
        return sum(count for _, count in self.unreported()) + sum(count for _, count in list(self._reports.values()))

    def stats(self) -> dict[str, int]:
        """How many were dropped in all, by reason."""
        with self._lock:
            return {"dropped_" + reason: count for reason, count in self._dropped.items()}

    def flying_reports(self) -> int:
        """How many reports have been made and not answered."""
        return len(self._reports)

    def must_report(self, at_once: bool) -> bool:
        """Whether a report is due."""
        return bool(self.unreported()) and (at_once or time.monotonic() - self._last_report > _BETWEEN_REPORTS)

    def reports(self, dimensions: dict[str, str], process: int) -> list[bytes]:
        """A message for each reason that tells what was dropped since the last. Its metadata makes it differ from that of another
        process."""
        made = []
        for reason, count in self.unreported():
            metadata = {"pid": str(process), "client": "python"}
            told = [Dimension(name, value) for name, value in {**dimensions, "reason": reason}.items()]
            report = json.dumps(Metrics(told, [Counter(DROPPED, get_now(), metadata, count)], []).serialize()).encode()
            self._reports[report] = (reason, count)
            self._reported[reason] += count
            made.append(report)
        self._last_report = time.monotonic()
        return made

    def forget_report(self, message: bytes) -> bool:
        """Settles a message, if it is a report. Returns whether it is."""
        return self._reports.pop(message, None) is not None

    def take_back_reports(self) -> list[bytes]:
        """Reports that were refused: what they tell is to be reported again. Returns them."""
        taken = list(self._reports)
        for reason, count in self._reports.values():
            self._reported[reason] -= count
        self._reports.clear()
        return taken
