"""The bounded buffer of a process, and the thread that empties it.

A message goes ``_incoming`` (as it was sent, by any thread) -> ``_waiting`` (as bytes) -> ``_flying`` (pushed, no answer yet)
-> stored. Only the thread touches the last two, which share the bounds. What is flying is never dropped, since nobody knows
whether it was stored: it is pushed again, byte for byte, and the agent writes the same bytes once.

Everything belongs to one process: a child begins with an empty buffer, and starts a thread of its own with its first message.
"""

from __future__ import annotations

import atexit
import logging
import os
import sys
import threading
import time
from collections import deque
from typing import NamedTuple, Optional, Union

from .connection import CONNECT_TIMEOUT, Connection, Endpoint, Refused, command
from .drops import Drops
from .encoding import Unencoded, as_sent, encoded
from .lookup import Lookup
from .metrics import Metrics
from .outage import FIRST_PAUSE, Outage

#: How long a message waits for others to go with it, in seconds. What a killed process loses is what came within this time.
BEAT = 0.05

#: After how many beats without a message the thread waits to be woken.
_BEATS_AWAKE = 20

#: How long the thread waits to be woken until it looks by itself, in seconds.
_LONGEST_SLEEP = 10.0

#: The most that goes in one push.
_PUSH_MESSAGES = 500
_PUSH_BYTES = 256 * 1024

#: How long the thread makes bytes of messages in one go, and lets others run, in seconds.
_SLICE = 0.0001

#: How long to wait after a thread could not be started, in seconds. Each attempt costs the application some time.
_START_PAUSE = 1.0

#: How long the end of an interpreter waits for the thread, in seconds. It may be connecting.
_END = CONNECT_TIMEOUT + 0.2

_process_id = os.getpid


class Limits(NamedTuple):
    """The bounds of a sender. Times are in seconds."""

    messages: int
    bytes: int
    timeout: float
    exit_timeout: float


class _ThreadEnds(BaseException):
    """Ends the sender's thread."""


class Sender:
    """Takes messages from all threads of a process, and pushes them from one of its own."""

    def __init__(self, endpoint: Endpoint, queue_key: str, limits: Limits, logger: logging.Logger) -> None:
        self._endpoint = endpoint
        self._queue_key = queue_key.encode()
        self._limits = limits
        self._most_incoming = limits.messages
        self._logger = logger
        #: How long the end of a process may wait for this one, in seconds.
        self.exit_timeout = limits.exit_timeout
        self.report_dimensions: dict[str, str] = {}
        self._connection: Optional[Connection] = None
        self.begin()

    def begin(self) -> None:
        """Begins anew, as a new process does."""
        if self._connection is not None:
            self._connection.forget()
        self._process = _process_id()
        self._connection = None
        self._lookup = Lookup()
        self._incoming: deque[Union[Unencoded, bytes]] = deque()
        self._waiting: deque[bytes] = deque()
        self._waiting_bytes = 0
        self._flying: list[bytes] = []
        self._drops = Drops()
        self._stored = 0
        self._starting = threading.Lock()
        self._thread: Optional[threading.Thread] = None
        # Held until the thread is to be woken. Made with the thread, since gevent may have replaced what a lock is by then.
        self._wake: Optional[threading.Lock] = None
        # When a thread may be started again, on the monotonic clock, after it could not be.
        self._start_again = 0.0
        self._start_failure_told = False
        # Whether a message must wake the thread, or start it.
        self._asleep = True
        # Whether the thread has something in hand that is in no list.
        self._at_work = False
        self._hurry = False
        # Whether the thread is to end.
        self._over = False
        # What the thread sleeps with, which is another function when gevent has come.
        self._sleep = time.sleep
        self._outage = Outage(self._endpoint, self._limits.messages, self._logger)

    # By the application's threads.

    def send(self, metrics: Metrics) -> None:
        """Leaves a message for the thread. Never raises and never waits."""
        try:
            message = as_sent(metrics)
        except Exception:
            self._drops.count("unencodable")
            self._logger.debug("a message cannot be sent", exc_info=True)
            return
        try:
            if self._process != _process_id():
                # A fork that did not go through Python.
                self.begin()
            incoming = self._incoming
            incoming.append(message)
            if len(incoming) > self._most_incoming:
                self._drop_incoming()
            if self._asleep:
                self._rouse()
        except Exception:
            self._logger.debug("the thread cannot be started or woken; the next message tries again", exc_info=True)

    def _drop_incoming(self) -> None:
        try:
            self._incoming.popleft()
        except IndexError:
            return
        self._drops.count("buffer_full")

    def _rouse(self) -> None:
        """Wakes the thread, or starts it."""
        if self._thread is None or self._wake is None:
            self._start()
            return
        self._asleep = False
        try:
            self._wake.release()
        except RuntimeError:
            # Another thread has woken it.
            pass

    def _start(self) -> None:
        if time.monotonic() < self._start_again or not self._starting.acquire(blocking=False):
            return
        try:
            if self._thread is None:
                self._wake = threading.Lock()
                self._wake.acquire()
                self._sleep = time.sleep
                self._over = False
                thread = threading.Thread(target=self._run, args=(self._wake,), name="kadabra", daemon=True)
                # Before it is started: a signal or a time-out that interrupts this must not lead to a second one.
                self._thread = thread
                try:
                    thread.start()
                except RuntimeError:
                    self._thread = None
                    raise
                _flush_when_a_child_ends()
        except RuntimeError as error:
            # No more threads, or the interpreter ends, which flushes without one. A later message tries again.
            self._start_again = time.monotonic() + _START_PAUSE
            if not self._start_failure_told and not sys.is_finalizing() and "shutdown" not in str(error):
                self._start_failure_told = True
                self._logger.warning("messages wait, since no thread can be started to push them: %s", error)
        finally:
            self._starting.release()

    def flush(self, timeout: float) -> bool:
        """Waits until all is stored or dropped, and that is reported, at most so many seconds. Returns whether it is."""
        deadline = time.monotonic() + timeout
        if self._process != _process_id() or self._is_done():
            return True
        try:
            while not self._is_done():
                # Each time, since another flush that ends takes it back.
                self._hurry = True
                if time.monotonic() >= deadline:
                    return False
                self._rouse()
                if self._thread is None:
                    # There cannot be one any more.
                    try:
                        self._turn(deadline)
                    except Exception:
                        self._logger.exception("a fault in Kadabra's client; what waits is not pushed")
                        return False
                else:
                    time.sleep(0.002)
            return True
        finally:
            self._hurry = False

    def _is_done(self) -> bool:
        return not (self._incoming or self._at_work or self._waiting or self._flying or self._drops.unreported())

    def stats(self) -> dict[str, int]:
        """What became of the messages of this process. ``unanswered`` are those of ``waiting`` that have been pushed and not
        answered."""
        unanswered = len(self._flying) - self._drops.flying_reports()
        waiting = len(self._incoming) + len(self._waiting) + unanswered
        return {"stored": self._stored, "waiting": waiting, "unanswered": unanswered, **self._drops.stats()}

    def end(self, deadline: float) -> None:
        """Flushes at the end of a process, and says what is lost."""
        if self._process != _process_id() or self.flush(max(0.0, deadline - time.monotonic())):
            return
        stats = self.stats()
        self._logger.warning(
            "this process ends before %d messages could be pushed to %s (%d of them may have been stored), and %d were dropped "
            "without being counted by a metric",
            stats["waiting"],
            self._endpoint,
            stats["unanswered"],
            self._drops.untold(),
        )

    def end_thread(self) -> None:
        """Ends the thread. An interpreter inside another that ends before its threads would end the process."""
        thread, wake = self._thread, self._wake
        if self._process != _process_id() or thread is None or wake is None:
            return
        self._over = True
        try:
            wake.release()
        except RuntimeError:
            pass
        thread.join(_END)
        self._over = False

    # By the sender's own thread.

    def _run(self, wake: threading.Lock) -> None:
        self._asleep = False
        sleep = self._sleep
        try:
            while not (self._over or self._gevent_has_come() and self._is_done()):
                try:
                    self._await_messages(wake)
                    self._turn(None, wake)
                except Exception:
                    self._logger.exception("a fault in Kadabra's client; it goes on")
                    self._sleep(1.0)
        except _ThreadEnds:
            pass
        finally:
            # It may also have been ended by something else, such as gevent.killall(). The next message starts another.
            is_a_copy = self._wake is not wake
            if not is_a_copy:
                # An answer may still come on it, to what the next thread did not ask.
                self._disconnect()
                self._thread = None
                self._asleep = True
            if is_a_copy or time.sleep is not sleep and not self._over:
                # Python itself complains of a thread that ends after gevent has come, or as a copy in a child, so this one stays,
                # and does nothing.
                while True:
                    wake.acquire()

    def _gevent_has_come(self) -> bool:
        """Whether gevent took the place of the standard library after this thread was started. Then another takes its place, which
        is a greenlet: in this one gevent would make an event loop of its own, and hang where gevent is still being imported."""
        return time.sleep is not self._sleep

    def _stop_a_copy(self, wake: Optional[threading.Lock]) -> None:
        """Stops a greenlet of the process that this one was forked from: unlike threads, those go on in the child."""
        if wake is not None and self._wake is not wake:
            raise _ThreadEnds

    def _look_after_the_buffer(self) -> None:
        """What is done now and then while the thread waits for the server."""
        self._encode()
        if self._over:
            raise _ThreadEnds

    def _await_messages(self, wake: threading.Lock) -> None:
        # As long as messages come, none of them has to pay for waking the thread: it looks by itself, once a beat.
        for _ in range(_BEATS_AWAKE):
            # Without anything to do it waits also where a flush is in a hurry, or a greenlet would never let the flush see it.
            if not (self._hurry and not self._is_done()):
                # Only a flush wakes it from this.
                wake.acquire(timeout=BEAT)
            if self._over or not self._is_done():
                return
        while True:
            self._asleep = True
            if self._over or not self._is_done():
                break
            # It looks by itself now and then, since a signal's handler may raise between the two steps of waking it.
            wake.acquire(timeout=_LONGEST_SLEEP)
        self._asleep = False
        if not self._hurry:
            wake.acquire(timeout=BEAT)

    def _turn(self, deadline: Optional[float], wake: Optional[threading.Lock] = None) -> None:
        """Pushes all that is there, or as much as goes until the deadline."""
        self._at_work = True
        try:
            while deadline is None or time.monotonic() < deadline:
                self._stop_a_copy(wake)
                self._encode()
                if not (self._waiting or self._flying or self._must_report()):
                    return
                try:
                    connection = self._connection or self._connect(_within(CONNECT_TIMEOUT, deadline), deadline is None)
                    self._push(connection, _within(self._limits.timeout, deadline))
                except (OSError, Refused, ValueError) as error:
                    self._stop_a_copy(wake)
                    self._has_failed(error)
                    self._pause(deadline)
        finally:
            self._at_work = False

    def _connect(self, timeout: float, by_thread: bool) -> Connection:
        if by_thread and self._gevent_has_come():
            raise _ThreadEnds
        # It is known before it is there, so that a child that is forked meanwhile can close it.
        self._connection = connection = Connection(self._endpoint, self._lookup, self._look_after_the_buffer)
        try:
            connection.open(timeout)
        except BaseException:
            self._disconnect()
            raise
        return connection

    def _encode(self) -> None:
        """Makes bytes of what came, a little at a time, so that no thread of the application waits long for the interpreter."""
        begun = time.monotonic()
        # What is flying counts, too; only what waits can be dropped.
        most = self._limits.messages - len(self._flying)
        most_bytes = self._limits.bytes - sum(map(len, self._flying))
        while self._incoming:
            try:
                message = self._incoming.popleft()
            except IndexError:
                return
            try:
                as_bytes = encoded(message)
            except Exception as error:
                self._drops.count("unencodable")
                self._logger.warning("a message was dropped, since it cannot be written as JSON: %s", error)
                continue
            self._waiting.append(as_bytes)
            self._waiting_bytes += len(as_bytes)
            while self._waiting and (len(self._waiting) > most or self._waiting_bytes > most_bytes):
                self._waiting_bytes -= len(self._waiting.popleft())
                self._drops.count("buffer_full")
            if time.monotonic() - begun > _SLICE:
                if len(self._incoming) * 2 < self._most_incoming and not self._hurry:
                    self._sleep(_SLICE)
                begun = time.monotonic()

    def _must_report(self) -> bool:
        return self._drops.must_report(self._hurry)

    def _fill(self) -> None:
        """Takes what is pushed next, unless there is something that no answer came for."""
        if self._flying:
            return
        if self._must_report():
            self._flying += self._drops.reports(self.report_dimensions, self._process)
        # At most half of the buffer, so that the other half is for newer messages, of which the oldest can be dropped.
        most = min(_PUSH_MESSAGES, self._limits.messages // 2)
        most_bytes = min(_PUSH_BYTES, self._limits.bytes // 2)
        size = 0
        while self._waiting and (not size or len(self._flying) < most and size + len(self._waiting[0]) <= most_bytes):
            message = self._waiting.popleft()
            self._waiting_bytes -= len(message)
            size += len(message)
            self._flying.append(message)

    def _push(self, connection: Connection, timeout: float) -> None:
        """Pushes what is to be pushed next, and settles it by the answers.

        :raises OSError: if no answer came, so that nothing is known.
        :raises Refused: if something must be mended before it can be stored.
        """
        self._fill()
        (answer,) = connection.ask([self._lpush(self._flying)], timeout, int)
        if not isinstance(answer, Refused):
            self._has_stored(self._flying)
            self._flying = []
        elif answer.concerns_the_command:
            # Which of the messages is it?
            answers = connection.ask([self._lpush([message]) for message in self._flying], timeout, int)
            self._settle_each(answers)
        else:
            self._give_back_reports()
            raise answer
        self._outage.is_over()

    def _lpush(self, messages: list[bytes]) -> bytes:
        return command([b"LPUSH", self._queue_key, *messages])

    def _has_stored(self, messages: list[bytes]) -> None:
        for message in messages:
            if not self._drops.forget_report(message):
                self._stored += 1

    def _settle_each(self, answers: list[object]) -> None:
        """Settles messages that were pushed one by one. One that is refused while another is taken will never be taken."""
        some_taken = any(not isinstance(answer, Refused) for answer in answers)
        kept: list[bytes] = []
        reason: Optional[Refused] = None
        for message, answer in zip(self._flying, answers):
            if not isinstance(answer, Refused):
                self._has_stored([message])
            elif answer.concerns_the_command and (some_taken or answer.says_too_large):
                self._drops.forget_report(message)
                self._drops.count("refused")
                self._logger.warning("a message of %d bytes was dropped: %s answers: %s", len(message), self._endpoint, answer)
            else:
                kept.append(message)
                reason = answer
        self._flying = kept
        if reason is not None:
            self._give_back_reports()
            raise reason

    def _give_back_reports(self) -> None:
        """What was refused was not stored, so another report can take its place."""
        for report in self._drops.take_back_reports():
            self._flying.remove(report)

    def _disconnect(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _has_failed(self, error: Exception) -> None:
        # After a refusal the connection is as good as before, unless another password or another server is needed.
        if not isinstance(error, Refused) or str(error).startswith(("NOAUTH", "READONLY")):
            self._disconnect()
        self._outage.has_failed(error, bool(self._drops.unreported()))

    def _pause(self, deadline: Optional[float]) -> None:
        """Waits before the next attempt."""
        until = time.monotonic() + self._outage.pause()
        if deadline is not None:
            until = min(until, deadline)
        hurried = self._hurry
        while True:
            left = until - time.monotonic()
            if self._hurry and (deadline is not None or not hurried):
                # A flush tries at once, and then soon again.
                left = min(left, FIRST_PAUSE)
                until = min(until, time.monotonic() + left)
                hurried = True
            if left <= 0:
                return
            if self._wake is None:
                time.sleep(min(left, BEAT))
            else:
                self._wake.acquire(timeout=min(left, BEAT))
            self._look_after_the_buffer()


def _within(timeout: float, deadline: Optional[float]) -> float:
    """A time-out that ends no later than a deadline. It is not 0, which to a socket is not to wait at all."""
    return timeout if deadline is None else max(0.001, min(timeout, deadline - time.monotonic()))


_senders: dict[tuple[object, ...], Sender] = {}


def shared_sender(endpoint: Endpoint, queue_key: str, limits: Limits, logger: logging.Logger) -> Sender:
    """The sender of this process with these settings."""
    settings = (*vars(endpoint).values(), queue_key, limits, logger.name)
    sender = _senders.get(settings)
    # Without a lock, which a signal handler that makes a client would wait for in vain.
    return sender or _senders.setdefault(settings, Sender(endpoint, queue_key, limits, logger))


def flush_all(timeout: Optional[float] = None) -> None:
    """Ends what waits in this process, and says what is lost: at most in so many seconds, or what was configured as
    ``exit_timeout``. At the end of a process it happens by itself, unless a signal or ``os._exit`` ends it."""
    begun = time.monotonic()
    for sender in list(_senders.values()):
        sender.end(begun + (sender.exit_timeout if timeout is None else timeout))


def _at_exit() -> None:
    flush_all()
    for sender in list(_senders.values()):
        sender.end_thread()


def _begin_in_child() -> None:
    for sender in list(_senders.values()):
        sender.begin()


def _flush_when_a_child_ends() -> None:
    """Children of ``multiprocessing`` do not run what is registered with ``atexit``, before Python 3.13."""
    multiprocessing = sys.modules.get("multiprocessing")
    if multiprocessing is not None and multiprocessing.parent_process() is not None:
        from multiprocessing.util import Finalize

        Finalize(None, flush_all, exitpriority=0)


os.register_at_fork(after_in_child=_begin_in_child)
atexit.register(_at_exit)
