"""What clients of statsd send: the packages statsd and datadog, and gunicorn, as applications use them.

statsd_clients.py PORT SOCKET WEB: to that port over UDP, and to that socket in the file system. gunicorn listens on the port WEB.
"""

import os
import socket
import subprocess
import sys
import time
import urllib.request
from datetime import timedelta

import statsd
from datadog.dogstatsd import DogStatsd

REQUESTS = 20


def app(environ, start_response):
    start_response("200 OK", [("Content-Length", "2")])
    return [b"ok"]


def of_statsd(port):
    client = statsd.StatsClient("127.0.0.1", port, prefix="plain")
    client.incr("hits", 5)
    client.decr("hits")
    client.timing("took", 320)
    client.timing("took", timedelta(milliseconds=80))
    client.gauge("users", 70)
    client.gauge("users", -5, delta=True)
    for member in ["joe", "ann", "joe"]:
        client.set("ids", member)
    with client.pipeline() as pipeline:
        pipeline.incr("piped")
        pipeline.incr("piped", 2)
        with pipeline.timer("block"):
            pass
    client.close()


def of_datadog(name, **where):
    client = DogStatsd(constant_tags=["env:prod"], namespace=name, **where)
    client.increment("hits", 2, tags=["page:home"])
    client.increment("hits", 3, tags=["page:shop"])
    client.gauge("users", 9)
    client.histogram("size", 300)
    client.distribution("spread", 5)
    client.timing("took", 12)
    client.set("ids", "a")
    client.event("title", "text")
    client.service_check("check", 0)
    client.flush()
    client.stop()


def of_gunicorn(prefix, host, port):
    command = [sys.executable, "-m", "gunicorn", "--bind", "127.0.0.1:%d" % port, "--statsd-host", host, "--statsd-prefix", prefix]
    command += ["--dogstatsd-tags", "env:prod", "--log-level", "error", "--no-control-socket", "statsd_clients:app"]
    server = subprocess.Popen(command, cwd=os.path.dirname(__file__))
    try:
        deadline = time.monotonic() + 30
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                break
            except OSError:
                assert time.monotonic() < deadline, "gunicorn does not listen"
        for _ in range(REQUESTS):
            with urllib.request.urlopen("http://127.0.0.1:%d/" % port, timeout=30) as answer:
                assert answer.read() == b"ok"
    finally:
        server.terminate()
        server.wait(30)


if __name__ == "__main__":
    port, path, web = int(sys.argv[1]), sys.argv[2], int(sys.argv[3])
    of_statsd(port)
    of_datadog("dog", host="127.0.0.1", port=port)
    of_datadog("local", socket_path=path)
    of_gunicorn("web", "127.0.0.1:%d" % port, web)
    of_gunicorn("local", "unix://" + path, web)
