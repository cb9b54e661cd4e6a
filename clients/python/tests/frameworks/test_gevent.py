"""Under gevent, whether it takes the place of threads and sockets before the client is used or while it is: nothing hangs."""

import os
import subprocess
import sys
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from stand_in import StandIn

PATCH = """
from gevent import monkey
monkey.patch_all()
import gevent
"""
SENDS = """
import os, sys, time
import kadabra
client = kadabra.Kadabra({"CLIENT_CHANNEL_ARGS": {"host": sys.argv[1], "port": int(sys.argv[2]), "exit_timeout": 20}})
def number(n):
    metrics = client.metrics()
    metrics.add_count("n", n)
    client.send(metrics.close())
"""
BEFORE = "for n in range(100): number(n)\n"
AFTER = """
def work(first):
    for n in range(first, first + 5):
        number(n)
        gevent.sleep(0.01)
gevent.joinall([gevent.spawn(work, first) for first in [100, 105, 110]])
begun = time.monotonic()
assert client.flush(20)
assert client.flush(20) and time.monotonic() - begun < 10
child = os.fork()
if child == 0:
    for n in range(115, 120): number(n)
    os._exit(0 if client.flush(20) else 1)
deadline = time.monotonic() + 30
while os.waitpid(child, os.WNOHANG)[0] == 0:
    assert time.monotonic() < deadline, "the child hangs"
    time.sleep(0.01)
for n in range(120, 125): number(n)
"""

# How many greenlets work on what a child sends.
CHILD = """
number(0)
assert client.flush(20)
child = os.fork()
if child == 0:
    at_work, encode = set(), kadabra.sender.Sender._encode
    def noting(self):
        at_work.add(gevent.getcurrent())
        encode(self)
    kadabra.sender.Sender._encode = noting
    for n in range(1, 7):
        number(n)
        gevent.sleep(0.1)
    assert client.flush(20)
    print(len(at_work), flush=True)
    os._exit(0)
while os.waitpid(child, os.WNOHANG)[0] == 0:
    time.sleep(0.01)
"""


class Gevent(unittest.TestCase):
    def test_hangs_nothing_whenever_it_comes(self):
        for host in ["127.0.0.1", "localhost"]:
            for name, code in [
                ("at first", PATCH + SENDS + BEFORE),
                ("after the import", SENDS + PATCH + BEFORE),
                ("while the thread works", SENDS + BEFORE + PATCH),
                ("while the thread works on many", SENDS + BEFORE + "for n in range(5000): number(0)\n" + PATCH),
                ("while the thread waits for messages", SENDS + BEFORE + "client.flush(20)\n" + PATCH),
                ("while the thread sleeps", SENDS + BEFORE + "time.sleep(1.3)\n" + PATCH),
            ]:
                server = StandIn()
                command = [sys.executable, "-W", "ignore", "-c", code + AFTER, host, str(server.port)]
                done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=60)
                self.assertEqual(done.returncode, 0, (name, host, done.stdout.decode()))
                # What was in a push when the thread was left may come twice, with the same bytes.
                self.assertEqual(set(server.numbers()), set(range(125)), (name, host))
                server.close()

    def test_a_child_is_pushed_for_by_one_greenlet_and_none_of_its_parents(self):
        server = StandIn()
        self.addCleanup(server.close)
        command = [sys.executable, "-W", "ignore", "-c", PATCH + SENDS + CHILD, "127.0.0.1", str(server.port)]
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=60)
        self.assertEqual((done.returncode, done.stdout.decode()), (0, "1\n"))
        self.assertEqual(sorted(server.numbers()), list(range(7)))

    def test_what_waits_in_an_outage_is_pushed_from_then_on(self):
        server = StandIn()
        port = server.port
        server.close()
        code = SENDS + BEFORE + "time.sleep(0.3)\n" + PATCH + "print('patched', flush=True)\ntime.sleep(0.5)\nnumber(100)\nsys.stdin.read()\n"
        command = [sys.executable, "-W", "ignore", "-c", code, "127.0.0.1", str(port)]
        environment = {**os.environ, "PYTHONFAULTHANDLER": "1"}
        with subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
            self.assertEqual(process.stdout.readline(), b"patched\n")
            server = StandIn(port=port)
            self.addCleanup(server.close)
            process.stdin.close()
            self.assertEqual(process.wait(60), 0)
        self.assertEqual(set(server.numbers()), set(range(101)))


if __name__ == "__main__":
    unittest.main()
