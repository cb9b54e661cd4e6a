"""Behind real servers, whatever happens to a real agent: no request fails, and what was sent is stored or counted as dropped,
exactly. `bench/proof.py` does the same for longer, for each kind of server, and measures."""

import os
import signal
import unittest

from servers import Load, Place, wait_for


class Case(unittest.TestCase):
    def go_through(self, place, load, least=50):
        """What must be so after each fault, the agent being well again."""
        load.stop()
        self.assertEqual(load.failed(), 0, [r for r in load.results if r[0] != 200][:5])
        self.assertGreater(len(load.results), least)
        # The original makes a request wait for 0.5 s to minutes; a busy machine may make it wait, too.
        self.assertLess(load.percentile(50), 200)
        self.assertEqual(place.settle(), 0)
        stored, dropped = place.agent.numbers()
        return len(stored), dropped

    def served(self, load, requests):
        """Waits until so many more requests have been served."""
        goal = len(load.results) + requests
        wait_for("more requests", lambda: len(load.results) >= goal, 60)


class EachServer(Case):
    """An agent that is away, hangs and is killed, one after the other."""

    def each(self, kind):
        with Place(kind) as place:
            load = Load(place.server.port)
            self.served(load, 20)
            place.agent.stop()
            self.served(load, 20)
            place.agent.start()
            self.served(load, 20)
            place.agent.send_signal(signal.SIGSTOP)
            self.served(load, 40)
            place.agent.send_signal(signal.SIGCONT)
            self.served(load, 10)
            place.agent.stop(signal.SIGKILL)
            self.served(load, 10)
            place.agent.start()
            self.served(load, 10)
            stored, dropped = self.go_through(place, load)
            self.assertEqual(dropped, 0)
            # What is sent last is pushed at the server's end, whatever kind it is.
            for n in range(5):
                self.assertEqual(place.server.get(5 + n), 200)
            place.server.stop()
            self.assertEqual(place.settle(), 0)

    def test_gunicorn_sync(self):
        self.each("Flask, gunicorn sync")

    def test_gunicorn_gevent_preload(self):
        self.each("Flask, gunicorn gevent --preload")

    def test_django_in_threads(self):
        self.each("Django, gunicorn gthread")

    def test_django_in_uvicorn(self):
        self.each("Django, uvicorn")

    def test_gunicorn_asgi_preload(self):
        self.each("FastAPI, gunicorn asgi --preload")

    def test_uvicorn(self):
        self.each("FastAPI, uvicorn")


AWAY = 'type = "influxdb"\n[publisher.influxdb]\nurl = "http://127.0.0.1:1"'


class EachFault(Case):
    kind = "Flask, gunicorn gthread"

    def test_an_agent_that_is_restarted_again_and_again(self):
        with Place(self.kind) as place:
            load = Load(place.server.port)
            for n in range(10):
                self.served(load, 10)
                place.agent.stop(signal.SIGKILL if n % 5 == 4 else signal.SIGTERM)
                place.agent.start()
            self.assertEqual(self.go_through(place, load)[1], 0)

    def test_a_wrong_password(self):
        with Place(self.kind, {"password": "sesame"}, agent=False) as place:
            place.agent.start(password="another")
            load = Load(place.server.port)
            self.served(load, 50)
            place.agent.stop()
            place.agent.start(password="sesame")
            self.assertEqual(self.go_through(place, load)[1], 0)

    def test_a_full_queue(self):
        with Place(self.kind, {"buffer_messages": 100}, agent=False) as place:
            place.agent.start(max_bytes="1MiB", publisher=AWAY)
            load = Load(place.server.port, pause=0)
            self.served(load, 2500)
            place.agent.stop()
            place.agent.start()
            self.assertGreater(self.go_through(place, load)[1], 0)

    def test_a_full_disk(self):
        with Place(self.kind, agent=False) as place:
            place.agent.start(publisher=AWAY, largest_file=1024 * 1024)
            load = Load(place.server.port, pause=0)
            log = place.folder / "agent-1.log"
            wait_for("a disk that is full", lambda: "file_size_limit" in log.read_text(), 60)
            self.served(load, 50)
            place.agent.stop()
            place.agent.start()
            self.assertEqual(self.go_through(place, load)[1], 0)

    def test_a_full_buffer(self):
        with Place(self.kind, {"buffer_messages": 30}) as place:
            place.agent.stop()
            load = Load(place.server.port)
            self.served(load, 200)
            place.agent.start()
            self.assertGreater(self.go_through(place, load)[1], 0)

    def test_a_worker_that_is_killed(self):
        with Place(self.kind) as place:
            load = Load(place.server.port)
            self.served(load, 500)
            killed = place.server.workers()[-1]
            os.kill(killed, signal.SIGKILL)
            wait_for("another worker", lambda: killed not in place.server.workers() and len(place.server.workers()) == 2)
            time_of_death = len(load.results)
            self.served(load, 50)
            load.stop()
            # Those that were in that worker's hands.
            self.assertLessEqual(load.failed(), 4)
            self.assertGreater(len(load.results), time_of_death)
            place.server.stop()
            # What came within the last beat, or while a busy machine left the last push unanswered; not all that it ever had.
            wait_for("all but what was in its hands", lambda: place.unaccounted() <= 100)
            self.assertGreaterEqual(place.unaccounted(), 0)


if __name__ == "__main__":
    unittest.main()
