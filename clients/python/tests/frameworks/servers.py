"""The agent, web servers with nginx before them, requests, and the sum of it all: what was sent is stored or was dropped."""

import http.client
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.parse
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))

from stand_in import PATIENCE, free_port, wait_for  # noqa: E402

AGENT = os.environ.get("KADABRA_TEST_AGENT", str(HERE.parents[3] / "target/debug/kadabra"))
# What begins with this ends with its test, also when that is killed: a web server that went on would push to whichever server gets the
# port of its agent next.
UNTIL_ITS_TEST_ENDS = ["setpriv", "--pdeathsig", "TERM", "--"]


def answers(port):
    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
        return True
    except OSError:
        return False


class Agent:
    """An agent whose destination is its log, in which every message is found again. It has one queue, whenever it is started."""

    def __init__(self, folder):
        self.folder = folder
        self.port = free_port()
        self.process = None
        self._starts = 0
        self._read = {}
        #: Each message that was published, as bytes, and how often.
        self.published = {}

    def start(self, max_bytes="1GiB", publisher='type = "debug"', password=None, largest_file=None):
        said = 'password = "%s"\n' % password if password else ""
        (self.folder / "kadabra.toml").write_text(
            '[channel.embedded]\npath = "%s/queue.db"\nlisten = "127.0.0.1:%d"\nmax_bytes = "%s"\nmax_message_bytes = "1MiB"\n%s[status]\nlisten = ""\n[publisher]\n%s\n'
            % (self.folder, self.port, max_bytes, said, publisher)
        )
        self._starts += 1
        log = open(self.folder / ("agent-%d.log" % self._starts), "wb")
        environment = {name: os.environ[name] for name in ["PATH", "HOME"] if name in os.environ}
        command = [AGENT, "run", "--config", str(self.folder / "kadabra.toml")]
        if largest_file:
            # As on a disk that has no more room.
            command = ["prlimit", "--fsize=%d" % largest_file, *command]
        self.process = subprocess.Popen(command, stdout=log, stderr=log, env=environment, cwd=self.folder)
        log.close()
        wait_for("an agent that listens", lambda: answers(self.port))

    def send_signal(self, number):
        self.process.send_signal(number)

    def stop(self, number=signal.SIGTERM):
        if self.process is None:
            return
        if self.process.poll() is None:
            self.send_signal(number)
            if number == signal.SIGTERM:
                self.send_signal(signal.SIGCONT)
        self.process.wait(PATIENCE)
        self.process = None

    def read(self):
        """Reads what has been published since the last time."""
        for path in sorted(self.folder.glob("agent-*.log")):
            with open(path, "rb") as log:
                log.seek(self._read.get(path, 0))
                for line in log:
                    if not line.endswith(b"\n"):
                        break
                    self._read[path] = self._read.get(path, 0) + len(line)
                    text = json.loads(line)["msg"]
                    if text.startswith("[{"):
                        for message in json.loads(text):
                            key = json.dumps(message)
                            self.published[key] = self.published.get(key, 0) + 1
        return self.published

    def numbers(self):
        """The requests whose message was published, and how many messages say that they were dropped."""
        stored, dropped = [], 0
        for text in self.read():
            for counter in json.loads(text)["counters"]:
                if counter["name"] == "request":
                    stored.append(int(counter["metadata"]["number"]))
                elif counter["name"] == "KadabraClientDropped":
                    dropped += int(counter["value"])
        return stored, dropped


class Influxd:
    """A real InfluxDB 1.x with the database kadabra, in a folder of its own."""

    def __init__(self, folder):
        self.port, rpc = free_port(), free_port()
        (folder / "influxdb.conf").write_text(
            'reporting-disabled = true\nbind-address = "127.0.0.1:%d"\n[meta]\ndir = "%s/meta"\n[data]\ndir = "%s/data"\n'
            'wal-dir = "%s/wal"\n[http]\nbind-address = "127.0.0.1:%d"\n[monitor]\nstore-enabled = false\n'
            % (rpc, folder, folder, folder, self.port)
        )
        command = [*UNTIL_ITS_TEST_ENDS, "influxd", "-config", str(folder / "influxdb.conf")]
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        wait_for("an InfluxDB that answers", lambda: answers(self.port))
        self.query("CREATE DATABASE kadabra", "POST")

    def query(self, text, method="GET"):
        """The series that it answers with."""
        asked = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE)
        asked.request(method, "/query?" + urllib.parse.urlencode({"db": "kadabra", "q": text}))
        (answer,) = json.loads(asked.getresponse().read())["results"]
        asked.close()
        return answer.get("series", [])

    def stop(self):
        self.process.kill()
        self.process.wait()


#: Each server: how it is started, with its socket in the place of {}.
GUNICORN = [sys.executable, "-m", "gunicorn", "--bind", "unix:{}", "--log-level", "error", "--no-control-socket"]
UVICORN = [sys.executable, "-m", "uvicorn", "--uds", "{}", "--log-level", "error", "--factory"]
KINDS = {
    "Flask, gunicorn sync": [*GUNICORN, "-w", "2", "apps:flask_app()"],
    "Flask, gunicorn sync --preload": [*GUNICORN, "-w", "2", "--preload", "apps:flask_app_that_sends_at_once()"],
    "Flask, gunicorn gthread": [*GUNICORN, "-w", "2", "-k", "gthread", "--threads", "4", "apps:flask_app()"],
    "Flask, gunicorn gevent": [*GUNICORN, "-w", "2", "-k", "gevent", "apps:flask_app()"],
    "Flask, gunicorn gevent --preload": [*GUNICORN, "-w", "2", "-k", "gevent", "--preload", "apps:flask_app_that_sends_at_once()"],
    "Django, gunicorn gthread": [*GUNICORN, "-w", "2", "-k", "gthread", "--threads", "4", "apps:django_app()"],
    "Django, uvicorn": [*UVICORN, "apps:django_asgi_app"],
    "FastAPI, gunicorn asgi --preload": [*GUNICORN, "-w", "2", "-k", "asgi", "--preload", "apps:fastapi_app()"],
    "FastAPI, uvicorn": [*UVICORN, "apps:fastapi_app"],
    "FastAPI, uvicorn, 2 workers": [*UVICORN, "--workers", "2", "apps:fastapi_app"],
    "Flask without metrics, gunicorn gthread": [*GUNICORN, "-w", "2", "-k", "gthread", "--threads", "4", "apps:flask_app_without()"],
}


class Server:
    """A web server, and nginx before it. Nothing is tried a second time by nginx, so that each failure is seen."""

    def __init__(self, folder, command, channel, environment=None):
        self.folder = folder
        self.sent = folder / "sent"
        self.port = free_port()
        path = str(folder / "web.sock")
        environment = {**os.environ, "APP_SENT": str(self.sent), "APP_CHANNEL": json.dumps(channel), **(environment or {})}
        log = open(folder / "web.log", "ab")
        command = [*UNTIL_ITS_TEST_ENDS, *(word.replace("{}", path) for word in command)]
        self.process = subprocess.Popen(command, cwd=HERE, env=environment, stdout=log, stderr=log, start_new_session=True)
        log.close()
        (folder / "nginx.conf").write_text(
            ""
            # As root its worker would be a user who may not use the socket.
            + ("user root; " if os.getuid() == 0 else "")
            + "daemon off; worker_processes 1; pid nginx.pid; error_log nginx.log error;\n"
            "events { worker_connections 1024; }\n"
            "http { access_log off; client_body_temp_path t1; proxy_temp_path t2; fastcgi_temp_path t3; uwsgi_temp_path t4;\n"
            "scgi_temp_path t5; server { listen 127.0.0.1:%d; location / { proxy_pass http://unix:%s; proxy_next_upstream off;\n"
            "proxy_read_timeout 120s; } } }\n" % (self.port, path)
        )
        nginx = shutil.which("nginx", path=os.environ["PATH"] + ":/usr/sbin")
        command = [*UNTIL_ITS_TEST_ENDS, nginx, "-p", str(folder), "-c", "nginx.conf"]
        self.nginx = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
        try:
            wait_for("a web server that answers", lambda: self.get(0) == 200)
        except BaseException:
            self.stop()
            raise

    def get(self, number):
        try:
            connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=120)
            connection.request("GET", "/?n=%d" % number)
            status = connection.getresponse().status
            connection.close()
            return status
        except OSError:
            return 0

    def workers(self):
        """The processes that serve, youngest last."""
        listed = subprocess.run(["ps", "-o", "pid=", "--ppid", str(self.process.pid)], stdout=subprocess.PIPE, check=False).stdout
        return [int(pid) for pid in listed.split()]

    def numbers(self):
        """The requests that were served."""
        return [int(line) for line in self.sent.read_text().split()]

    def stop(self):
        """Stops it as an operator does, and returns how long that took, in seconds."""
        begun = time.monotonic()
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(PATIENCE)
        finally:
            for process in [self.process, self.nginx]:
                try:
                    os.killpg(process.pid, signal.SIGKILL)
                except ProcessLookupError:
                    pass
            self.nginx.wait()
        return time.monotonic() - begun


class Load:
    """Requests, one after the other on each of some connections, until it is stopped. Numbers begin at 1."""

    def __init__(self, port, connections=4, pause=0.01):
        self._port = port
        self._pause = pause
        self._over = threading.Event()
        self.results = []
        self._threads = [threading.Thread(target=self._run, args=(n * 10_000_000,)) for n in range(1, connections + 1)]
        for thread in self._threads:
            thread.start()

    def _run(self, number):
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=120)
        while not self._over.is_set():
            number += 1
            begun = time.perf_counter()
            try:
                connection.request("GET", "/?n=%d" % number)
                response = connection.getresponse()
                response.read()
                status = response.status
            except (OSError, http.client.HTTPException):
                status = 0
                connection.close()
            self.results.append((status, time.perf_counter() - begun))
            time.sleep(self._pause)

    def stop(self):
        self._over.set()
        for thread in self._threads:
            thread.join()

    def failed(self):
        return sum(status != 200 for status, _ in self.results)

    def percentile(self, percent):
        """In milliseconds."""
        took = sorted(took for _, took in self.results)
        return took[min(len(took) - 1, len(took) * percent // 100)] * 1000


class Place:
    """A folder with an agent in it and a web server, both of which end with it."""

    def __init__(self, kind, channel=None, agent=True, environment=None):
        self.folder = Path(tempfile.mkdtemp(prefix="kadabra-web-"))
        self.agent = Agent(self.folder)
        self.server = None
        self.kind = kind
        # At its end a process waits for an agent also on a busy machine.
        self.channel = {"host": "127.0.0.1", "port": self.agent.port, "exit_timeout": 20, **(channel or {})}
        self.environment = environment
        if agent:
            self.agent.start()

    def __enter__(self):
        command = KINDS[self.kind] if isinstance(self.kind, str) else self.kind
        try:
            self.server = Server(self.folder, command, self.channel, self.environment)
        except BaseException:
            log = self.folder / "web.log"
            print(log.read_text() if log.exists() else "", file=sys.stderr)
            self.__exit__(*sys.exc_info())
            raise
        return self

    def __exit__(self, kind, *_):
        if self.server:
            self.server.stop()
        if self.agent.process and self.agent.process.poll() is None:
            self.agent.process.kill()
            self.agent.process.wait()
        if kind is None:
            shutil.rmtree(self.folder)
        else:
            print("what happened is in", self.folder, file=sys.stderr)

    def unaccounted(self):
        """How many requests are neither stored nor dropped. Below zero would be too many."""
        # In this order, since a message is published after its request was written down.
        stored, dropped = self.agent.numbers()
        sent = self.server.numbers()
        assert len(set(stored) - {0}) == len([n for n in stored if n]), "a request has two messages"
        assert set(stored) <= set(sent), "what was never sent is stored"
        return len(sent) - len(stored) - dropped

    def settle(self, patience=PATIENCE):
        """Waits until all is accounted for, and returns what is not."""
        deadline = time.monotonic() + patience
        while self.unaccounted() != 0 and time.monotonic() < deadline:
            time.sleep(0.05)
        return self.unaccounted()
