"""What the client had to drop is seen in the database, by the query that its page has."""

import shutil
import tempfile
import unittest
from pathlib import Path

import kadabra
from servers import Agent, Influxd, wait_for

PAGE = Path(__file__).parents[2] / "README.md"


class Drops(unittest.TestCase):
    def test_are_found_in_the_database_by_the_query_of_the_page(self):
        folder = Path(tempfile.mkdtemp(prefix="kadabra-drops-"))
        self.addCleanup(shutil.rmtree, folder)
        database, agent = Influxd(folder), Agent(folder)
        self.addCleanup(database.stop)
        self.addCleanup(agent.stop)
        channel = {"host": "127.0.0.1", "port": agent.port, "buffer_messages": 100}
        client = kadabra.Kadabra({"CLIENT_DEFAULT_DIMENSIONS": {"service": "shop"}, "CLIENT_CHANNEL_ARGS": channel})
        for n in range(1000):
            metrics = client.metrics()
            metrics.add_count("sent", 1, metadata={"number": str(n)})
            client.send(metrics.close())
        client.send(None)
        wait_for("drops", lambda: client.stats()["dropped_buffer_full"] == 900)
        agent.start(publisher='type = "influxdb"\n[publisher.influxdb]\nurl = "http://127.0.0.1:%d"' % database.port)
        self.assertTrue(client.flush(20))
        (query,) = [line for line in PAGE.read_text(encoding="utf-8").splitlines() if line.startswith("SELECT")]
        told = {}

        def all_there():
            for series in database.query(query):
                tags, columns = series["tags"], series["columns"]
                told[tags["service"], tags["reason"]] = sum(dict(zip(columns, row))["sum"] or 0 for row in series["values"])
            return len(told) == 2

        wait_for("what was dropped", all_there)
        self.assertEqual(told, {("shop", "buffer_full"): 900, ("shop", "unencodable"): 1})
        wait_for("the others", lambda: [s["values"][0][1] for s in database.query("SELECT count(value) FROM sent")] == [100])
        (report, _) = database.query("SELECT pid, client FROM KadabraClientDropped")[0]["values"]
        self.assertEqual(report[2], "python")


if __name__ == "__main__":
    unittest.main()
