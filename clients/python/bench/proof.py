"""The proof on real servers, in its long form: each kind of server, with nginx before it and wrk's load, while the agent goes
through each state. What `tests/frameworks/test_servers.py` asserts in short is counted here, and what requests took is measured.

    python3 clients/python/bench/proof.py                       from the root of the clone, after `tests/run --install`
    python3 clients/python/bench/proof.py --seconds 5 --only gevent
    python3 clients/python/bench/proof.py --restarts 100        an agent that is restarted a hundred times, each fifth by kill -9
    python3 clients/python/bench/proof.py --paced               what a request takes at a moderate rate, beside one without metrics
    python3 clients/python/bench/proof.py --original            the unmodified original clients, in Flask

It needs wrk (Debian's package), and for the original clients the environment that the head of request.py tells. `lost` is what was sent and is neither stored nor counted as dropped.
"""

import argparse
import math
import os
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

BENCH = Path(__file__).resolve().parent
ROOT = BENCH.parents[2]
PYTHON = ROOT / "target/python-web/bin/python"
if Path(sys.prefix).resolve() != PYTHON.parents[1].resolve():
    os.execv(PYTHON, [str(PYTHON), "-W", "ignore", *sys.argv])
sys.path.insert(0, str(BENCH.parent / "tests/frameworks"))

from servers import KINDS, Load, Place  # noqa: E402

AWAY = 'type = "influxdb"\n[publisher.influxdb]\nurl = "http://127.0.0.1:1"'
ORIGINAL = [str(ROOT / "target/python-original/bin/python"), "-W", "ignore", "-m", "gunicorn", "--bind", "unix:{}", "--log-level", "critical", "-w", "2"]
NUMBERS = [0]


def wrk(port, seconds, connections):
    """Requests, failures, and what they took in ms: the median, 99 of 100, the longest."""
    NUMBERS[0] += 100_000_000
    command = ["wrk", "-t1", "-c%d" % connections, "-d%ds" % seconds, "--timeout", "100s", "--latency", "-s", str(BENCH / "ids.lua")]
    said = subprocess.run([*command, "http://127.0.0.1:%d/" % port, "--", str(NUMBERS[0])], stdout=subprocess.PIPE, check=True).stdout.decode()
    failed = sum(int(n) for n in re.findall(r"Non-2xx or 3xx responses: (\d+)", said))
    for errors in re.findall(r"Socket errors: (.*)", said):
        failed += sum(int(n) for n in re.findall(r"\d+", errors))
    requests = int(re.search(r"(\d+) requests in", said)[1])

    def ms(pattern):
        value, unit = re.search(pattern, said).groups()
        return float(value) * {"us": 0.001, "ms": 1, "s": 1000, "m": 60000}[unit]

    number = r"([\d.]+)(us|ms|s|m)\b"
    return requests, failed, ms(r"50%\s+" + number), ms(r"99%\s+" + number), ms(r"Latency\s+\S+\s+\S+\s+" + number)


def well(place, over):
    over.wait()


def stopped(place, over):
    place.agent.stop()
    over.wait()


def hanging(place, over):
    place.agent.send_signal(signal.SIGSTOP)
    over.wait()
    place.agent.send_signal(signal.SIGCONT)


def killed(place, over):
    while not over.wait(0.7):
        place.agent.stop(signal.SIGKILL)
        place.agent.start()


def restarted(place, over):
    while not over.wait(0.7):
        place.agent.stop()
        place.agent.start()


def full(place, over):
    place.agent.stop()
    place.agent.start(max_bytes="1MiB", publisher=AWAY)
    over.wait()


def without_room(place, over):
    place.agent.stop()
    place.agent.start(publisher=AWAY, largest_file=4 * 1024 * 1024)
    over.wait()


def wrong_password(place, over):
    place.agent.stop()
    place.agent.start(password="sesame")
    over.wait()


def worker_killed(place, over):
    while not over.wait(1.5):
        os.kill(place.server.workers()[-1], signal.SIGKILL)


STATES = [
    ("is well", well, {}),
    ("is stopped", stopped, {}),
    ("hangs (SIGSTOP)", hanging, {}),
    ("is killed and started", killed, {}),
    ("is restarted", restarted, {}),
    ("is full", full, {}),
    ("has no room on its disk", without_room, {}),
    ("has another password", wrong_password, {}),
    ("is stopped, buffer of 100", stopped, {"buffer_messages": 100}),
]


def head():
    print("| server | the agent | requests | failed | p50 ms | p99 ms | longest ms | stored | dropped | lost | stored twice |")
    print("|---|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|", flush=True)


def line(kind, state, figures, *counts):
    requests, failed, median, p99, longest = figures
    cells = [kind, state, requests, failed, "%.1f" % median, "%.1f" % p99, "%.0f" % longest, *counts]
    print("| " + " | ".join(map(str, cells)) + " |", flush=True)


def load(place, act, seconds, connections):
    """Warms the server up, and returns the figures of a load while something happens to the agent."""
    wrk(place.server.port, 1, connections)
    over = threading.Event()
    acting = threading.Thread(target=act, args=(place, over))
    acting.start()
    try:
        time.sleep(0.3)
        return wrk(place.server.port, seconds, connections)
    finally:
        over.set()
        acting.join()


def one(kind, state, act, extra, seconds, connections):
    with Place(kind, extra) as place:
        figures = load(place, act, seconds, connections)
        if act not in (well, hanging):
            place.agent.stop()
            place.agent.start()
        if "without" in kind:
            return line(kind, "–", figures, "–", "–", "–", "–")
        lost = place.settle(60 if act is not worker_killed else 3)
        # What waits at the server's end is pushed by then.
        place.server.stop()
        lost = place.settle(2) if lost else place.unaccounted()
        stored, dropped = place.agent.numbers()
        twice = sum(times - 1 for times in place.agent.published.values())
        line(kind, state, figures, len(stored), dropped, lost, twice)


def restarts(times, connections):
    """An agent that is restarted so many times, each fifth by kill -9."""
    done = [0]

    def act(place, over):
        for n in range(times):
            place.agent.stop(signal.SIGKILL if n % 5 == 4 else signal.SIGTERM)
            place.agent.start()
            done[0] = n + 1
            if over.wait(0.1):
                return

    begun = time.monotonic()
    one("Flask, gunicorn gthread", "is restarted %d times" % times, act, {}, max(20, times // 2), connections)
    print("\n%d restarts in %.0f s" % (done[0], time.monotonic() - begun))


def paced(rounds):
    """At some 350 requests a second, since a server whose requests come as fast as it can is slowed by whatever runs beside it. Two
    servers, with metrics and without, run at once and are asked in turn for a second each, so that a busy machine is so for both; told
    is the median of the differences of the pairs, and the interval that has it in 19 of 20 cases, from their order alone."""
    print("| server | the agent | pairs | p50 ms | p99 ms | p50 more than without, ms | p99 more than without, ms |")
    print("|---|---|--:|--:|--:|--:|--:|")
    low = order_of_interval(rounds)
    for state, act, extra in STATES:
        with Place("Flask, gunicorn gthread", extra) as place, Place("Flask without metrics, gunicorn gthread") as without:
            over = threading.Event()
            acting = threading.Thread(target=act, args=(place, over))
            acting.start()
            took = []
            for n in range(-1, rounds):
                pair = {}
                for asked in [place, without] if n % 2 else [without, place]:
                    load = Load(asked.server.port, 8, 0.02)
                    time.sleep(1.0)
                    load.stop()
                    assert load.failed() == 0
                    pair[asked] = (load.percentile(50), load.percentile(99))
                if n >= 0:
                    # The first pair warms the servers up.
                    took.append((pair[place], pair[without]))
            over.set()
            acting.join()
        cells = ["%.2f" % sorted(with_[i] for with_, _ in took)[rounds // 2] for i in (0, 1)]
        for i in (0, 1):
            more = sorted(with_[i] - without_[i] for with_, without_ in took)
            cells.append("%+.2f (%+.2f to %+.2f)" % (more[rounds // 2], more[low], more[-1 - low]))
        print("| Flask, gunicorn gthread | %s | %d | %s |" % (state, rounds, " | ".join(cells)), flush=True)


def order_of_interval(count):
    """Which of so many values, from below and from above, have their median between them in 19 of 20 cases at least."""
    below, order = 0.5**count, 0
    while below + math.comb(count, order + 1) * 0.5**count <= 0.025:
        order += 1
        below += math.comb(count, order) * 0.5**count
    return order


def original(seconds, connections):
    """The unmodified original clients; what it answers, and when."""
    print("| server | the agent | requests | failed | p50 ms | p99 ms | longest ms |\n|---|---|--:|--:|--:|--:|--:|")
    for state, act, extra in STATES[:8]:
        with Place([*ORIGINAL, "-k", "gthread", "--threads", "4", "apps:flask_app()"]) as place:
            figures = load(place, act, seconds, connections)
            print("| Flask, gunicorn gthread | %s | %d | %d | %.1f | %.1f | %.0f |" % (state, *figures), flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=int, default=10, help="of load for each state")
    parser.add_argument("--connections", type=int, default=8)
    parser.add_argument("--only", default="", help="servers whose name has this in it")
    parser.add_argument("--restarts", type=int)
    parser.add_argument("--paced", action="store_true")
    parser.add_argument("--pairs", type=int, default=21, help="of seconds for each state, with --paced")
    parser.add_argument("--original", action="store_true")
    options = parser.parse_args()
    print("load before the run %.1f\n" % os.getloadavg()[0])
    if options.original:
        return original(options.seconds, options.connections)
    if options.paced:
        return paced(options.pairs)
    head()
    if options.restarts:
        return restarts(options.restarts, options.connections)
    for kind in KINDS:
        if options.only not in kind:
            continue
        if "without" in kind:
            one(kind, "", well, {}, options.seconds, options.connections)
            continue
        for state, act, extra in STATES:
            one(kind, state, act, extra, options.seconds, options.connections)
        if "gunicorn" in kind:
            one(kind, "is well, workers are killed", worker_killed, {}, options.seconds, options.connections)


if __name__ == "__main__":
    main()
