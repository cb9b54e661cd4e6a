"""The middleware inside Flask 3, Django and FastAPI, and that messages are those of the original package."""

import asyncio
import json
import logging
import os
import subprocess
import sys
import unittest
from pathlib import Path

import django
import fastapi
import flask
from django.conf import settings
from django.http import HttpResponse
from django.test import AsyncClient, Client
from django.urls import path
from fastapi.testclient import TestClient
from flask import Flask, abort, g

sys.path.insert(0, str(Path(__file__).parents[1]))

import kadabra
import kadabra.asgi
from kadabra import encoding
from flask_kadabra import Kadabra, record_metrics
from stand_in import StandIn

logging.disable(logging.CRITICAL)
SERVER = StandIn()
ROOT = Path(__file__).parents[4]


def sent(client):
    """What came since the last time: each message's dimensions and values."""
    assert client.flush(20)
    messages, SERVER.pushes[:] = SERVER.messages, []
    return [
        ({d["name"]: d["value"] for d in m["dimensions"]}, {c["name"]: c["value"] for c in m["counters"]}) for m in messages
    ]


def counts(client_error, failure, **others):
    return {**others, "Failure": failure, "ClientError": client_error}


class InFlask(unittest.TestCase):
    def setUp(self):
        self.app = app = Flask(__name__)
        extension = Kadabra()
        extension.init_app(app, SERVER.settings())

        @app.route("/")
        @record_metrics
        def index():
            g.metrics.add_count("userSignup", 1.0)
            return "Hello, world!"

        @app.route("/missing")
        @record_metrics
        def missing():
            abort(404)

        @app.route("/broken")
        @record_metrics
        def broken():
            raise KeyError("broken")

        @app.route("/unrecorded/<name>")
        def unrecorded(name):
            return name

    def get(self, path):
        return self.app.test_client().get(path).status_code

    def test_decorated_views_are_recorded_as_by_the_original(self):
        self.assertEqual([self.get(p) for p in ["/", "/missing", "/broken", "/unrecorded/1", "/none"]], [200, 404, 500, 200, 404])
        expected = [
            ({"method": "index"}, counts(0, 0, userSignup=1)),
            ({"method": "missing"}, counts(1, 0)),
            ({"method": "broken"}, counts(0, 1)),
        ]
        self.assertEqual(sent(self.app.kadabra), expected)

    def test_all_requests_are_recorded_on_demand_and_none_when_it_is_disabled(self):
        self.app.config["KADABRA_RECORD_ALL"] = True
        for p in ["/", "/unrecorded/1", "/none"]:
            self.get(p)
        expected = [
            ({"method": "index", "status": "2xx"}, counts(0, 0, userSignup=1)),
            ({"method": "unrecorded", "status": "2xx"}, counts(0, 0)),
            ({"method": "unmatched", "status": "4xx"}, counts(1, 0)),
        ]
        self.assertEqual(sent(self.app.kadabra), expected)
        self.app.config["DISABLE_KADABRA"] = True
        self.get("/")
        self.assertEqual(sent(self.app.kadabra), [])


def item(request, number):
    request.metrics.add_count("seen", 1)
    return HttpResponse("item")


def broken(request):
    raise KeyError("broken")


async def later(request):
    return HttpResponse("later")


urlpatterns = [path("items/<int:number>/", item), path("broken/", broken), path("later/", later)]

settings.configure(
    ALLOWED_HOSTS=["*"],
    ROOT_URLCONF=__name__,
    SECRET_KEY="test",
    MIDDLEWARE=["kadabra.django.Middleware"],
    KADABRA=SERVER.settings(),
    LOGGING_CONFIG=None,
)
django.setup()


class InDjango(unittest.TestCase):
    expected = [
        ({"method": "items/<int:number>/", "status": "2xx"}, counts(0, 0, seen=1)),
        ({"method": "broken/", "status": "5xx"}, counts(0, 1)),
        ({"method": "later/", "status": "2xx"}, counts(0, 0)),
        ({"method": "unmatched", "status": "4xx"}, counts(1, 0)),
    ]
    paths = ["/items/7/", "/broken/", "/later/", "/none/"]

    def test_requests_are_counted_by_their_route(self):
        client = Client(raise_request_exception=False)
        self.assertEqual([client.get(p).status_code for p in self.paths], [200, 500, 200, 404])
        self.assertEqual(sent(kadabra.Kadabra(SERVER.settings())), self.expected)

    def test_requests_to_an_asgi_server_too(self):
        async def get():
            client = AsyncClient(raise_request_exception=False)
            return [(await client.get(p)).status_code for p in self.paths]

        self.assertEqual(asyncio.run(get()), [200, 500, 200, 404])
        self.assertEqual(sent(kadabra.Kadabra(SERVER.settings())), self.expected)


class InFastApi(unittest.TestCase):
    def test_requests_are_counted_by_their_route(self):
        app = fastapi.FastAPI()
        router = fastapi.APIRouter(prefix="/api")

        @app.get("/items/{number}")
        async def item(request: fastapi.Request, number: int):
            request.state.metrics.add_count("seen", 1)
            return number

        @router.get("/users/{name}")
        def user(name: str):
            return name

        @app.get("/broken")
        async def broken():
            raise KeyError("broken")

        app.include_router(router)
        app.add_middleware(kadabra.asgi.Middleware, client=SERVER.settings())
        with TestClient(app, raise_server_exceptions=False) as client:
            paths = ["/items/7", "/api/users/a", "/broken", "/none"]
            self.assertEqual([client.get(p).status_code for p in paths], [200, 200, 500, 404])
        expected = [
            ({"method": "/items/{number}", "status": "2xx"}, counts(0, 0, seen=1)),
            ({"method": "/api/users/{name}", "status": "2xx"}, counts(0, 0)),
            ({"method": "/broken", "status": "5xx"}, counts(0, 1)),
            ({"method": "unmatched", "status": "4xx"}, counts(1, 0)),
        ]
        self.assertEqual(sent(kadabra.Kadabra(SERVER.settings())), expected)


# Reads messages, and writes each as a client would.
AGAIN = """
import json, sys, kadabra
print(kadabra.__version__)
for line in open(sys.argv[1], encoding="utf-8"):
    print(json.dumps(kadabra.Metrics.deserialize(json.loads(line)).serialize()))
"""


class TheOriginal(unittest.TestCase):
    def test_writes_the_same_bytes(self):
        original = os.environ["KADABRA_ORIGINAL_PYTHON"]
        written = []
        for python in [original, sys.executable]:
            done = subprocess.run([python, "-W", "ignore", "-c", AGAIN, ROOT / "tests/data/valid.jsonl"], stdout=subprocess.PIPE, check=True)
            written.append(done.stdout.decode().splitlines())
        self.assertEqual((written[0][0], written[1][0]), ("0.5.0", kadabra.__version__))
        self.assertEqual(written[0][1:], written[1][1:])
        self.assertGreater(len(written[0]), 100)
        for line in written[0][1:]:
            message = kadabra.Metrics.deserialize(json.loads(line))
            self.assertEqual(encoding.encoded(encoding.as_sent(message)), line.encode())


if __name__ == "__main__":
    unittest.main()
