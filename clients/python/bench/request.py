"""What a request pays: one timer, two counters, one dimension, collected and sent, in each state of the agent, and beside other
tools in the same run.

    tests/run --install                                once, and the environments of the other tools:
    for tools in bench original; do python3 -m venv target/python-$tools; done
    target/python-bench/bin/pip install -r clients/python/bench/requirements.txt
    target/python-original/bin/pip install -r clients/python/bench/requirements-original.txt

    python3 clients/python/bench/request.py            from the root of the clone; five minutes
    python3 clients/python/bench/request.py --quick    a fifth of it

Each is measured in a process of its own, while a loop that computes for 0.5 ms stands for the rest of a request, so that 2,000 a
second are made and the client's thread has to share the interpreter with them. `thread` is the CPU time of that thread a message.

`control` is measured in the same process, in turn with the requests, half way through the loop: work of the same length that calls
nobody and keeps nothing (a list of small dictionaries). What its 99th percentile is above its median, the machine did.
The agent is the debug build in target/debug. Tools that push over UDP have a socket that is read.
"""

import argparse
import json
import os
import platform
import signal
import subprocess
import sys
import threading
import time
import tempfile
from pathlib import Path

BENCH = Path(__file__).resolve().parent
ROOT = BENCH.parents[2]
sys.path.insert(0, str(BENCH.parent / "tests/frameworks"))


def kadabra_request(settings):
    import datetime

    import kadabra

    client = kadabra.Kadabra({"CLIENT_CHANNEL_ARGS": settings})
    took = datetime.timedelta(microseconds=12345)

    def one():
        metrics = client.metrics()
        metrics.set_dimension("method", "index")
        metrics.set_timer("RequestTime", took, kadabra.Units.MILLISECONDS)
        metrics.add_count("Failure", 0)
        metrics.add_count("ClientError", 0)
        try:
            client.send(metrics.close())
        except Exception:
            # The original's.
            pass

    return one


def prometheus(_):
    from prometheus_client import Counter, Histogram

    timer, failure, error = Histogram("t", "t", ["m"]), Counter("f", "f", ["m"]), Counter("e", "e", ["m"])

    def one():
        timer.labels("index").observe(0.012)
        failure.labels("index").inc(0)
        error.labels("index").inc(0)

    return one


def statsd_pipeline(settings):
    import statsd

    client = statsd.StatsClient("127.0.0.1", settings["udp"])

    def one():
        with client.pipeline() as pipe:
            pipe.timing("index.t", 12.345)
            pipe.incr("index.f", 0)
            pipe.incr("index.e", 0)

    return one


def dogstatsd(settings):
    from datadog.dogstatsd import DogStatsd

    client = DogStatsd(host="127.0.0.1", port=settings["udp"])
    tags = ["method:index"]

    def one():
        client.timing("t", 12.345, tags=tags)
        client.increment("f", 0, tags=tags)
        client.increment("e", 0, tags=tags)

    return one


def opentelemetry(_):
    from opentelemetry.sdk.metrics import MeterProvider
    from opentelemetry.sdk.metrics.export import InMemoryMetricReader

    meter = MeterProvider([InMemoryMetricReader()]).get_meter("m")
    timer, failure, error = meter.create_histogram("t"), meter.create_counter("f"), meter.create_counter("e")

    def one():
        tags = {"method": "index"}
        timer.record(12.345, tags)
        failure.add(0, tags)
        error.add(0, tags)

    return one


def influxdb(settings):
    from influxdb_client import InfluxDBClient, Point, WriteOptions

    client = InfluxDBClient("http://127.0.0.1:%d" % settings["udp"], "t", org="o")
    api = client.write_api(WriteOptions(batch_size=1_000_000, flush_interval=600_000))

    def one():
        for name in ["t", "f", "e"]:
            api.write("b", "o", Point(name).tag("method", "index").field("value", 12.345))

    return one


def measure(one, count):
    """Each call in µs, the control's too, and of the client's thread the CPU time a call."""

    def compute():
        until = time.perf_counter() + 0.00025
        while time.perf_counter() < until:
            sum(range(50))

    def timed(work):
        begun = time.perf_counter_ns()
        work()
        return (time.perf_counter_ns() - begun) / 1000

    def control():
        return [{"name": name, "value": float(name)} for name in range(size)]

    took, controls, size = [timed(one)], [], 0
    if took[0] > 1e6:
        # The original waits for seconds or minutes.
        count = 0
    for n in range(count):
        compute()
        took.append(timed(one))
        compute()
        controls.append(timed(control))
        if n == 0:
            # The first one starts the thread.
            del took[0]
        elif n <= 500 and n % 10 == 0:
            # As long as a request.
            size += 1 if middle(controls[-10:]) < middle(took) else -1
    cpu = None
    for thread in threading.enumerate():
        if thread.name == "kadabra":
            cpu = time.clock_gettime(time.pthread_getcpuclockid(thread.ident)) * 1e6 / len(took)
    del took[: 500 if count else 0]
    del controls[:500]
    return {
        "count": len(took),
        "median": middle(took),
        "p99": sorted(took)[len(took) * 99 // 100],
        "max": max(took),
        "thread": cpu,
        "control": [middle(controls), sorted(controls)[len(controls) * 99 // 100]] if controls else None,
    }


def middle(values):
    return sorted(values)[len(values) // 2]


def child(name, settings, count):
    print(json.dumps(measure(globals()[name](json.loads(settings)), int(count))), flush=True)
    # Nothing is flushed: this is not measured here.
    os._exit(0)


def run(python, name, settings, count, path=None):
    environment = {**os.environ, "PYTHONPATH": str(path) if path else ""}
    command = [str(ROOT / "target" / python / "bin/python"), "-W", "ignore", __file__, "--child", name, json.dumps(settings), str(count)]
    said = subprocess.run(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=True, timeout=300).stdout
    return json.loads(said)


def show(title, result):
    thread = "" if result["thread"] is None else "%.0f" % result["thread"]
    control = "%.1f / %.1f" % tuple(result["control"]) if result["control"] else ""
    row = "| %s | %.1f | %.1f | %s | %.0f | %s | %d |"
    row %= (title, result["median"], result["p99"], control, result["max"], thread, result["count"])
    print(row, flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--child", nargs=3)
    options = parser.parse_args()
    if options.child:
        child(*options.child)
    from servers import Agent, free_port

    count = 1500 if options.quick else 6500
    ours = BENCH.parent / "src"
    print("Python %s, load before the run %.1f\n" % (platform.python_version(), os.getloadavg()[0]))
    print("| | median µs | p99 µs | control: median / p99 | max µs | thread µs | requests |\n|---|--:|--:|--:|--:|--:|--:|")
    with tempfile.TemporaryDirectory() as folder:
        agent = Agent(Path(folder))
        settings = {"host": "127.0.0.1", "port": agent.port}
        away = 'type = "influxdb"\n[publisher.influxdb]\nurl = "http://127.0.0.1:1"'
        full = {"max_bytes": "1MiB", "publisher": away}
        states = {
            "well": ({}, {}, None),
            "not running": (None, {}, None),
            "hangs": ({}, {}, signal.SIGSTOP),
            "full": (full, {}, None),
            "wrong password": ({"password": "sesame"}, {"password": "wrong"}, None),
            "not running, and the buffer is full": (None, {"buffer_messages": 100}, None),
        }
        for state, (start, extra, then) in states.items():
            for python, name, path in [("python-web", "ours", ours), ("python-original", "Kadabra 0.5.0", None)]:
                if path is None and "buffer" in state:
                    continue
                if start is not None:
                    agent.start(**start)
                    if start is full:
                        run("python-web", "kadabra_request", settings, 4000, ours)
                    if then is not None:
                        agent.send_signal(then)
                told = {**settings, **extra} if path else settings
                show("%s, the agent: %s" % (name, state), run(python, "kadabra_request", told, count, path))
                agent.stop(signal.SIGKILL)
    udp = free_port()
    reader = subprocess.Popen([sys.executable, "-c", "import socket\ns = socket.socket(type=socket.SOCK_DGRAM)\ns.bind(('127.0.0.1', %d))\nwhile 1: s.recv(65536)" % udp])
    try:
        time.sleep(0.5)
        for name in ["prometheus", "statsd_pipeline", "dogstatsd", "opentelemetry", "influxdb"]:
            show(name.replace("_", ", "), run("python-bench", name, {"udp": udp}, count))
    finally:
        reader.kill()
        reader.wait()


if __name__ == "__main__":
    main()
