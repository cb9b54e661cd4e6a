"""The middleware without a framework: WSGI and ASGI as their specifications say."""

import asyncio
import io
import unittest
from wsgiref.util import FileWrapper, setup_testing_defaults

import kadabra
import kadabra.asgi
import kadabra.wsgi
from kadabra import sender
from stand_in import StandIn


class Case(unittest.TestCase):
    def setUp(self):
        self.server = StandIn()
        self.addCleanup(self.server.close)
        self.client = kadabra.Kadabra(self.server.settings(exit_timeout=20))

    def tearDown(self):
        sender._senders.clear()

    def sent(self):
        """Each message as its dimensions and its values."""
        self.assertTrue(self.client.flush(20))
        messages = []
        for message in self.server.messages:
            dimensions = {d["name"]: d["value"] for d in message["dimensions"]}
            (timer,) = message["timers"]
            self.assertEqual((timer["name"], timer["unit"]["name"]), ("RequestTime", "milliseconds"))
            messages.append((dimensions, {c["name"]: c["value"] for c in message["counters"]}))
        return messages


class Wsgi(Case):
    def get(self, application, **environ):
        setup_testing_defaults(environ)
        told = []
        body = kadabra.wsgi.Middleware(application, self.client, lambda environ: environ.get("route"))(
            environ, lambda status, headers, exc_info=None: told.append(status)
        )
        try:
            return told, b"".join(body)
        finally:
            if hasattr(body, "close"):
                body.close()

    def test_each_kind_of_body_is_counted_once_and_unchanged(self):
        def application(environ, start_response):
            environ["kadabra.metrics"].add_count("seen", 1)
            start_response(environ["status"], [])
            return {"list": [b"ab", b"c"], "iterator": iter([b"ab", b"c"]), "file": FileWrapper(io.BytesIO(b"abc"))}[environ["kind"]]

        for kind in ["list", "iterator", "file"]:
            for status in ["200 OK", "404 Not Found", "503 Away"]:
                told = self.get(application, kind=kind, status=status, route="a", **{"wsgi.file_wrapper": FileWrapper})
                self.assertEqual(told, ([status], b"abc"))
        counts = [{"seen": 1, "Failure": f, "ClientError": c} for f, c in [(0, 0), (0, 1), (1, 0)]] * 3
        self.assertEqual([sent[1] for sent in self.sent()], counts)
        self.assertEqual(self.sent()[1][0], {"method": "a", "status": "4xx"})

    def test_an_application_that_raises_has_failed(self):
        def raises(environ, start_response):
            raise KeyError("at once")

        def raises_later(environ, start_response):
            start_response("200 OK", [])
            yield b"a"
            raise KeyError("later")

        for application in [raises, raises_later]:
            self.assertRaises(KeyError, self.get, application)
        self.assertEqual([sent[1]["Failure"] for sent in self.sent()], [1, 1])

    def test_a_view_may_have_sent_by_itself(self):
        def application(environ, start_response):
            environ["kadabra.metrics"].close()
            start_response("200 OK", [])
            return []

        self.assertEqual(self.get(application), (["200 OK"], b""))
        self.assertEqual(self.sent(), [])


class Asgi(Case):
    def run_app(self, app, scope, *messages):
        told, left = [], list(messages)

        async def receive():
            return left.pop(0)

        async def send(message):
            told.append(message)

        asyncio.run(kadabra.asgi.Middleware(app, self.client)(scope, receive, send))
        return told

    def test_requests_are_counted_with_their_route(self):
        async def app(scope, receive, send):
            scope["state"]["metrics"].add_count("seen", 1)
            scope["endpoint"] = scope["view"]
            await send({"type": "http.response.start", "status": scope["status"], "headers": []})
            await send({"type": "http.response.body", "body": b"a"})

        def index():
            pass

        for status, view in [(200, index), (404, None), (500, index)]:
            self.assertEqual(len(self.run_app(app, {"type": "http", "status": status, "view": view})), 2)
        sent = self.sent()
        self.assertEqual([s[1]["Failure"] + 10 * s[1]["ClientError"] for s in sent], [0, 10, 1])
        self.assertEqual([s[0]["status"] for s in sent], ["2xx", "4xx", "5xx"])
        self.assertEqual(sent[1][0]["method"], "unmatched")
        self.assertIn("index", sent[0][0]["method"])

    def test_an_application_that_raises_has_failed(self):
        async def app(scope, receive, send):
            raise KeyError("no")

        self.assertRaises(KeyError, self.run_app, app, {"type": "http"})
        self.assertEqual(self.sent()[0][1]["Failure"], 1)

    def test_a_shutdown_flushes_whether_the_application_has_a_lifespan_or_not(self):
        async def without(scope, receive, send):
            raise ValueError("only HTTP")

        async def with_lifespan(scope, receive, send):
            while True:
                message = await receive()
                await send({"type": message["type"] + ".complete"})
                if message["type"] == "lifespan.shutdown":
                    return

        for n, app in enumerate([without, with_lifespan]):
            metrics = self.client.metrics()
            metrics.add_count("n", n)
            self.client.send(metrics.close())
            told = self.run_app(app, {"type": "lifespan"}, {"type": "lifespan.startup"}, {"type": "lifespan.shutdown"})
            self.assertEqual([m["type"] for m in told], ["lifespan.startup.complete", "lifespan.shutdown.complete"])
            self.assertEqual(len(self.server.numbers()), n + 1)

    def test_a_failing_startup_still_fails(self):
        async def app(scope, receive, send):
            await receive()
            raise KeyError("no database")

        self.assertRaises(KeyError, self.run_app, app, {"type": "lifespan"}, {"type": "lifespan.startup"})


if __name__ == "__main__":
    unittest.main()
