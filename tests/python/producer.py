"""Sends numbered messages with the real client, so that a test can tell which ones are missing or doubled.

Message n has the dimension "number" and the counter "sent" with the value n. Prints how many were sent.
"""

import argparse
import datetime

import kadabra


def number(metrics, n):
    metrics.set_dimension("number", str(n))
    metrics.add_count("sent", n)


def as_a_flask_request(metrics, n):
    """What Flask-Kadabra adds to the metrics of a request, so that the message has five points."""
    metrics.set_dimension("method", "index")
    metrics.add_count("userSignup", 1.0, metadata={"userId": str(n)})
    metrics.set_timer("RequestTime", datetime.timedelta(microseconds=12345), kadabra.Units.MILLISECONDS)
    metrics.add_count("Failure", 0)
    metrics.add_count("ClientError", 0)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--host", default="localhost", help="of Redis")
    parser.add_argument("--port", type=int, required=True, help="of Redis")
    parser.add_argument("--queue", default="kadabra_queue", help="the list to push to")
    parser.add_argument("--count", type=int, default=1, help="how many messages")
    parser.add_argument("--first", type=int, default=0, help="the first message's number")
    parser.add_argument("--request", action="store_true", help="messages such as a Flask request makes")
    parser.add_argument("--once", action="store_true", help="fail rather than send a message again that was not answered")
    options = parser.parse_args()

    channel = {"host": options.host, "port": options.port, "queue_key": options.queue}
    client = kadabra.Kadabra({"CLIENT_CHANNEL_ARGS": channel})
    if options.once:
        # The redis-py of Kadabra's time knows neither, and sends nothing a second time.
        from redis.backoff import NoBackoff
        from redis.retry import Retry

        client.channel.client.set_retry(Retry(NoBackoff(), 0))
    for n in range(options.first, options.first + options.count):
        metrics = client.metrics()
        number(metrics, n)
        if options.request:
            as_a_flask_request(metrics, n)
        client.send(metrics.close())
    print(options.count)


if __name__ == "__main__":
    main()
