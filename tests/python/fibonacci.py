"""The example of Kadabra's documentation: one message with a dimension, a counter and a timer. Prints the number."""

import argparse
import datetime

import kadabra


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("n", type=int, help="which Fibonacci number")
    parser.add_argument("--host", default="localhost", help="of Redis")
    parser.add_argument("--port", type=int, default=6379, help="of Redis")
    options = parser.parse_args()

    client = kadabra.Kadabra({"CLIENT_CHANNEL_ARGS": {"host": options.host, "port": options.port}})
    metrics = client.metrics()
    metrics.set_dimension("program", "fibonacci")

    start = datetime.datetime.utcnow()
    current, following = 0, 1
    for _ in range(options.n):
        metrics.add_count("iterations", 1)
        current, following = following, current + following
    end = datetime.datetime.utcnow()

    metrics.set_timer("runTime", end - start, kadabra.Units.MILLISECONDS)
    client.send(metrics.close())
    print(current)


if __name__ == "__main__":
    main()
