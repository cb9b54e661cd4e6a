"""A Flask application whose Kadabra has a client of redis-py's own, as docs/applications.md and conf/examples tell. It serves one
request, and prints its status and how many seconds it took.
"""

import argparse
import time

import redis
from flask import Flask, g
from flask_kadabra import Kadabra, record_metrics


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--socket")
    parser.add_argument("--port", type=int)
    parser.add_argument("--password", required=True)
    parser.add_argument("--timeout", type=float, default=0.1, help="in seconds")
    parser.add_argument("--catch", action="store_true", help="lose a metric rather than a request")
    options = parser.parse_args()

    app = Flask(__name__)
    Kadabra(app)
    if options.socket:
        app.kadabra.channel.client = redis.Redis(
            unix_socket_path=options.socket, password=options.password, socket_timeout=options.timeout, retry=None
        )
    else:
        app.kadabra.channel.client = redis.Redis(
            host="127.0.0.1", port=options.port, password=options.password, socket_timeout=options.timeout, retry=None
        )
    if options.catch:
        send = app.kadabra.send

        def send_or_log(metrics):
            try:
                send(metrics)
            except redis.RedisError as error:
                app.logger.warning("metrics are lost: %s", error)

        app.kadabra.send = send_or_log

    @app.route("/")
    @record_metrics
    def index():
        g.metrics.add_count("userSignup", 1.0)
        return "Hello, world!"

    client = app.test_client()
    begin = time.monotonic()
    try:
        status = client.get("/").status_code
    except BaseException:
        # Flask handles the error by calling what sends once more, which raises a BaseException that only the server answers.
        status = 500
    print(status, time.monotonic() - begin)


if __name__ == "__main__":
    main()
