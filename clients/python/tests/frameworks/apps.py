"""One view in each framework, for the servers of the tests. Each request has a number, which it writes into a file, as one that
was sent, and into its message. The environment says where: APP_SENT is the file, APP_CHANNEL the settings as JSON."""

import json
import os

CHANNEL = json.loads(os.environ.get("APP_CHANNEL", "null"))
CONFIG = {"CLIENT_CHANNEL_ARGS": CHANNEL}
SENT = os.open(os.environ.get("APP_SENT", os.devnull), os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)


def record(metrics, number):
    # Of a request whose client has gone, the collector may be closed, and this raises.
    metrics.add_count("request", 1, metadata={"number": str(number)})
    os.write(SENT, b"%d\n" % int(number))


def flask_app():
    from flask import Flask, g, request
    from flask_kadabra import Kadabra, record_metrics

    app = Flask("app")
    Kadabra(app, CONFIG)

    @app.route("/")
    @record_metrics
    def index():
        record(g.metrics, request.args.get("n", 0))
        return "Hello, world!"

    return app


def flask_app_that_sends_at_once():
    """As it is imported, it sends a message, so that with --preload there is a thread before the server forks."""
    import kadabra

    client = kadabra.Kadabra(CONFIG)
    metrics = client.metrics()
    record(metrics, 10**9 + os.getpid())
    client.send(metrics.close())
    return flask_app()


def flask_app_without():
    """The same without metrics."""
    from flask import Flask, request

    app = Flask("app")

    @app.route("/")
    def index():
        os.write(SENT, b"%d\n" % int(request.args.get("n", 0)))
        return "Hello, world!"

    return app


def configure_django():
    from django.conf import settings
    from django.http import HttpResponse
    from django.urls import path

    def index(request):
        record(request.metrics, request.GET.get("n", 0))
        return HttpResponse("Hello, world!")

    settings.configure(
        ALLOWED_HOSTS=["*"],
        ROOT_URLCONF=(path("", index),),
        SECRET_KEY="test",
        MIDDLEWARE=["kadabra.django.Middleware"],
        KADABRA=CONFIG,
    )


def django_app():
    from django.core.wsgi import get_wsgi_application

    configure_django()
    return get_wsgi_application()


def django_asgi_app():
    import kadabra.asgi
    from django.core.asgi import get_asgi_application

    configure_django()
    return kadabra.asgi.Flush(get_asgi_application())


def fastapi_app():
    import kadabra.asgi
    from fastapi import FastAPI, Request

    app = FastAPI()
    app.add_middleware(kadabra.asgi.Middleware, client=CONFIG)

    @app.get("/")
    async def index(request: Request, n: int = 0):
        record(request.state.metrics, n)
        return "Hello, world!"

    return app
