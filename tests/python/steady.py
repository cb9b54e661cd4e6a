"""Pushes numbered messages with the real Kadabra from several threads until SIGTERM. Prints how many were sent every now and then,
and at the end, as JSON, those of which `send` has raised and the longest time that one took.
"""

import argparse
import itertools
import json
import os
import signal
import sys
import threading
import time

import kadabra
import redis


def connect(options):
    if not options.socket:
        return kadabra.Kadabra({"CLIENT_CHANNEL_ARGS": {"host": "127.0.0.1", "port": options.port}})
    client = kadabra.Kadabra()
    # CLIENT_CHANNEL_ARGS takes no path.
    client.channel.client = redis.Redis(unix_socket_path=options.socket)
    return client


def push(options, numbers, over, failed, seconds):
    client = None
    while not over.is_set():
        if client is None or options.anew:
            client = connect(options)
        number = next(numbers)
        metrics = client.metrics()
        metrics.add_count("numbered", number)
        begun = time.monotonic()
        try:
            client.send(metrics.close())
        except Exception as error:
            failed.append([number, repr(error)])
        seconds.append(time.monotonic() - begun)
        time.sleep(options.pause)


def end(error):
    sys.__excepthook__(error.exc_type, error.exc_value, error.exc_traceback)
    os._exit(1)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=6379)
    parser.add_argument("--socket", help="a path, in place of the port")
    parser.add_argument("--threads", type=int, default=4)
    parser.add_argument("--pause", type=float, default=0.002, help="in seconds, after each message")
    parser.add_argument("--anew", action="store_true", help="connect for each message")
    options = parser.parse_args()

    numbers, over, failed, seconds = itertools.count(1), threading.Event(), [], []
    signal.signal(signal.SIGTERM, lambda *_: over.set())
    # A thread that fails otherwise than in `send` ends all, rather than that the others go on without it.
    threading.excepthook = end
    threads = [
        threading.Thread(target=push, args=(options, numbers, over, failed, seconds)) for _ in range(options.threads)
    ]
    for thread in threads:
        thread.start()
    while not over.wait(0.02):
        print(len(seconds), flush=True)
    for thread in threads:
        thread.join()
    print(json.dumps({"sent": len(seconds), "failed": failed, "longest": max(seconds)}))


if __name__ == "__main__":
    main()
