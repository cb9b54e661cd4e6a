"""The Python in the documentation of the client runs, and sends what it says; what it shows of other tools, too."""

import contextlib
import http.server
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import unittest
from pathlib import Path

ROOT = Path(__file__).parents[4]
CLIENT = ROOT / "clients/python"
sys.path.insert(0, str(CLIENT / "tests"))

from servers import Agent
from stand_in import StandIn, wait_for

#: Runs a block with the stand-in where an agent would be.
AT_STAND_IN = """
import kadabra.channels
kadabra.channels.RedisChannel.DEFAULT_ARGS["port"] = {port}
kadabra.connection.LOCAL_SOCKET = "/nonexistent"
"""

#: What a page leaves to the reader: what stands before its blocks, and requests of the application that they make.
FLASK = "\nassert app.test_client().get('/').status_code == 200\n"
FASTAPI = "\nfrom fastapi.testclient import TestClient\nwith TestClient(app) as client: assert client.get('/items/7').json() == 7\n"
WSGI = """
def application(environ, start_response):
    start_response("200 OK", [])
    return [b"hello"]
"""
WSGI_REQUEST = "\nassert application({}, lambda *_: None) == [b'hello']\n"
DJANGO = """
import sys
import django
import kadabra.asgi
from django.conf import settings
from django.core.asgi import get_asgi_application
from django.http import HttpResponse
from django.test import Client
from django.urls import path
"""
DJANGO_REQUEST = """
urlpatterns = [path("signup/", lambda request: signup(request) or HttpResponse("welcome"))]
settings.configure(ALLOWED_HOSTS=["*"], ROOT_URLCONF=__name__, MIDDLEWARE=MIDDLEWARE, KADABRA=KADABRA, SECRET_KEY="a")
django.setup()
assert Client().get("/signup/").status_code == 200
"""


def blocks(page, language):
    text = page.read_text(encoding="utf-8")
    found = re.findall(r"^```(\S*)\n(.*?)^```$", text, re.M | re.S)
    return [code for told, code in found if told == language]


class Pages(unittest.TestCase):
    def messages_of(self, code):
        """What a program sends."""
        server = StandIn()
        self.addCleanup(server.close)
        run(AT_STAND_IN.format(port=server.port) + code)
        return server.messages

    def sent_by(self, code):
        """The names of what a program sends."""
        return sorted({m["name"] for message in self.messages_of(code) for m in message["counters"] + message["timers"]})

    def test_what_is_told_of_each_framework_works(self):
        request = ["ClientError", "Failure", "RequestTime"]
        for name, before, after, sent in [
            ("flask", "", FLASK, ["userSignup"]),
            ("fastapi", "", FASTAPI, ["itemSeen"]),
            ("wsgi", WSGI, WSGI_REQUEST, []),
            ("django", DJANGO, None, ["userSignup"]),
        ]:
            code = blocks(CLIENT / "docs" / (name + ".md"), "python")
            self.assertTrue(code, name)
            if after is None:
                # The application is made in asgi.py, when the settings are there.
                code.insert(2, DJANGO_REQUEST)
                after = ""
            self.assertEqual(self.sent_by(before + "\n".join(code) + after), sorted(request + sent), name)
        self.assertEqual(len(list((CLIENT / "docs").iterdir())), 4)

    def test_the_first_page_sends(self):
        first, settings = blocks(CLIENT / "README.md", "python")
        self.assertEqual(self.sent_by(first), ["userSignup"])
        self.assertEqual(self.sent_by("import kadabra\n" + settings), [])

    def test_what_is_told_of_moving_over_works(self):
        page = ROOT / "docs/moving-over.md"
        sent = [self.sent_by(code) for code in blocks(page, "python")]
        self.assertEqual(
            sent, [["userSignup"], ["RequestTime", "userSignup"], ["request_seconds", "user_signup"], ["userSignup"]]
        )

    def test_what_is_told_of_the_original_works_with_it_too(self):
        folder = Path(tempfile.mkdtemp(prefix="kadabra-pages-"))
        self.addCleanup(shutil.rmtree, folder)
        agent = Agent(folder)
        self.addCleanup(agent.stop)
        agent.start()
        code = blocks(ROOT / "docs/moving-over.md", "python")[0]
        run("import kadabra.channels\nkadabra.channels.RedisChannel.DEFAULT_ARGS['port'] = %d\n" % agent.port + code, ORIGINAL)
        told = [json.loads(message) for message in wait_for("its message", agent.read)]
        here = self.messages_of(code)
        for message in here:
            # The agent's log does not have them.
            del message["serialized_at"], message["timestamp_format"]
        for message in [*told, *here]:
            del message["counters"][0]["timestamp"]
        self.assertEqual((len(told), told), (1, here))

    def test_what_is_shown_of_other_tools_does_with_them_what_it_shows(self):
        of_statsd, of_prometheus, of_influxdb = blocks(ROOT / "docs/moving-over.md", "")

        with socket.socket(type=socket.SOCK_DGRAM) as telegraf:
            telegraf.bind(("127.0.0.1", 0))
            telegraf.settimeout(20)
            run(replaced(of_statsd, '"localhost", 8125', '"127.0.0.1", %d' % telegraf.getsockname()[1]))
            self.assertEqual({telegraf.recv(1000) for _ in range(2)}, {b"shop.userSignup:1|c", b"shop.RequestTime:12.500000|ms"})

        with tempfile.TemporaryDirectory() as folder:
            scraped = run(of_prometheus + SCRAPE, PROMETHEUS_MULTIPROC_DIR=folder)
        self.assertIn('user_signup_total{plan="free"} 1.0', scraped)
        self.assertIn('request_seconds_count{method="signup"} 1.0', scraped)

        written = []
        with influxdb2(written) as port:
            run(replaced(replaced(of_influxdb, "localhost:8086", "127.0.0.1:%d" % port), "…", "secret"))
        self.assertEqual(written, [("/api/v2/write?org=shop&bucket=metrics&precision=ns", b'userSignup,plan=free userId="1",value=1')])


ORIGINAL = os.environ["KADABRA_ORIGINAL_PYTHON"]

#: What the application's view for the scraper does.
SCRAPE = """
from prometheus_client import CollectorRegistry, generate_latest, multiprocess
registry = CollectorRegistry()
multiprocess.MultiProcessCollector(registry)
print(generate_latest(registry).decode())
"""


def run(code, python=sys.executable, **environment):
    """Runs a program to its end, and returns what it prints."""
    command = [python, "-W", "ignore", "-c", code]
    output = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    done = subprocess.run(command, env={**os.environ, **environment}, timeout=60, check=False, **output)
    assert done.returncode == 0, code + done.stdout.decode()
    return done.stdout.decode()


def replaced(code, address, other):
    assert address in code, code
    return code.replace(address, other)


@contextlib.contextmanager
def influxdb2(written):
    """Takes what is written as an InfluxDB 2 does."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            written.append((self.path, self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_address[1]
        server.shutdown()


if __name__ == "__main__":
    unittest.main()
