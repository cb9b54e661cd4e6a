"""A Flask application with Flask-Kadabra that serves requests to itself: of each four, two succeed, one is the client's
error and one the server's. Each makes one message. Prints how many were served.
"""

import argparse

from flask import Flask, abort, g
from flask_kadabra import Kadabra, record_metrics


def application(host, port):
    app = Flask(__name__)
    Kadabra(app, {"CLIENT_CHANNEL_ARGS": {"host": host, "port": port}})

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
        abort(500)

    @app.route("/unrecorded")
    def unrecorded():
        return "Nothing is sent for this one."

    return app


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--host", default="localhost", help="of Redis")
    parser.add_argument("--port", type=int, required=True, help="of Redis")
    parser.add_argument("--requests", type=int, default=4)
    options = parser.parse_args()

    client = application(options.host, options.port).test_client()
    client.get("/unrecorded")
    for n in range(options.requests):
        client.get(("/", "/missing", "/broken", "/")[n % 4])
    print(options.requests)


if __name__ == "__main__":
    main()
