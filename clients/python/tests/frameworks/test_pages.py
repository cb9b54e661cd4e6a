"""The Python in the documentation of the client runs, and sends what it says. (Shown code of other tools is only compiled.)"""

import re
import subprocess
import sys
import unittest
from pathlib import Path

ROOT = Path(__file__).parents[4]
CLIENT = ROOT / "clients/python"
sys.path.insert(0, str(CLIENT / "tests"))

from stand_in import StandIn

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
    def sent_by(self, code):
        """The names of what a program sends."""
        server = StandIn()
        self.addCleanup(server.close)
        program = AT_STAND_IN.format(port=server.port) + code
        command = [sys.executable, "-W", "ignore", "-c", program]
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=60)
        self.assertEqual(done.returncode, 0, code + done.stdout.decode())
        return sorted({m["name"] for message in server.messages for m in message["counters"] + message["timers"]})

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
        others = blocks(page, "")
        self.assertEqual(len(others), 3)
        for code in others:
            compile(code, str(page), "exec")


if __name__ == "__main__":
    unittest.main()
