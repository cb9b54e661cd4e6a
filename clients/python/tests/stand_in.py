"""A Redis that keeps what is pushed, and misbehaves as a test tells it to."""

import json
import os
import random
import socket
import tempfile
import threading
import time

#: How long a test waits for what must come, in seconds.
PATIENCE = 30.0


def wait_for(what, condition, patience=PATIENCE):
    """Waits until a condition is true, and returns what it is."""
    deadline = time.monotonic() + patience
    while True:
        found = condition()
        if found:
            return found
        if time.monotonic() > deadline:
            raise AssertionError("there was never: " + what)
        time.sleep(0.005)


#: The ports of this process.
_taken = []


def free_port():
    """A port that nobody listens on, and that is this process's until it ends, whatever it starts and stops there.

    What still pushes to a server that was stopped would otherwise push to a stranger that got its port. So it is below the ports that
    the kernel gives to connections and to servers that ask for any, and it has a socket's name, which no other test can have, in
    whatever language, and which nothing is left of afterwards.
    """
    while True:
        port = random.randrange(10_000, 32_000)
        name = socket.socket(socket.AF_UNIX)
        try:
            name.bind("\0kadabra-test-port-%d" % port)
            socket.create_server(("127.0.0.1", port)).close()
        except OSError:
            name.close()
        else:
            _taken.append(name)
            return port


class StandIn:
    """Listens on a free port of this machine, or on a Unix socket.

    ``answer`` may be set to a function of a command's words, which returns the line to answer with, "" for none at all, or None
    for what a Redis answers.
    """

    def __init__(self, password=None, unix=False, port=None):
        self.password = password
        self.answer = None
        self.pushes = []
        self.connections = []
        self._unix = tempfile.mkdtemp() + "/socket" if unix else None
        self._listener = socket.socket(socket.AF_UNIX if unix else socket.AF_INET)
        self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.port = 0 if unix else port or free_port()
        self._listener.bind(self._unix or ("127.0.0.1", self.port))
        self._listener.listen(64)
        self.path = self._unix
        threading.Thread(target=self._accept, daemon=True).start()

    def settings(self, **others):
        place = {"unix_socket_path": self.path} if self.path else {"host": "127.0.0.1", "port": self.port}
        return {"CLIENT_CHANNEL_ARGS": {**place, **others}}

    @property
    def messages(self):
        """All that was stored, decoded, in its order."""
        return [json.loads(message) for push in list(self.pushes) for message in push]

    def numbers(self):
        """The values of the counter n."""
        return [c["value"] for m in self.messages for c in m["counters"] if c["name"] == "n"]

    def dropped(self):
        """What the client says that it dropped, by reason."""
        told = {}
        for message in self.messages:
            for counter in message["counters"]:
                if counter["name"] == "KadabraClientDropped":
                    (reason,) = (d["value"] for d in message["dimensions"] if d["name"] == "reason")
                    told[reason] = told.get(reason, 0) + counter["value"]
        return told

    def cut_off(self):
        """Closes all connections."""
        for connection in list(self.connections):
            try:
                connection.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    def close(self):
        try:
            # Or it would listen until the accept that waits has taken one more connection.
            self._listener.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        self._listener.close()
        self.cut_off()
        if self._unix and os.path.exists(self._unix):
            os.unlink(self._unix)

    def _accept(self):
        while True:
            try:
                connection, _ = self._listener.accept()
                self.connections.append(connection)
                threading.Thread(target=self._serve, args=(connection,), daemon=True).start()
            except (OSError, RuntimeError):
                # It was closed, or the interpreter ends.
                return

    def _serve(self, connection):
        let_in = self.password is None
        file = connection.makefile("rb")
        try:
            while True:
                head = file.readline()
                if not head:
                    return
                words = []
                for _ in range(int(head[1:])):
                    size = int(file.readline()[1:])
                    words.append(file.read(size + 2)[:-2])
                name = words[0].upper()
                line = self.answer(words) if self.answer else None
                if line is None and name == b"AUTH":
                    let_in = words[-1] == (self.password or "").encode()
                    line = "+OK" if let_in else "-WRONGPASS invalid username-password pair or user is disabled."
                elif line is None and not let_in:
                    line = "-NOAUTH Authentication required."
                elif line is None and name == b"LPUSH":
                    self.pushes.append(words[2:])
                    line = ":%d" % len(self.messages)
                elif line is None:
                    line = "+PONG" if name == b"PING" else "+OK"
                if line:
                    connection.sendall(line.encode() + b"\r\n")
        except (OSError, ValueError):
            pass
        finally:
            file.close()
            connection.close()
