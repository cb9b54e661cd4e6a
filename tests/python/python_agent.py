"""The real Python agent, to be taken over from. Runs until it is killed; while InfluxDB cannot be reached, what it has
received stays in kadabra_inprogress. Batched, since Kadabra 0.5.0's default agent does not start.
"""

import argparse
import logging
import sys

import kadabra


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--redis-port", type=int, required=True)
    parser.add_argument("--influxdb-port", type=int, required=True)
    parser.add_argument("--database", default="kadabra")
    parser.add_argument("--interval", type=float, default=0.2, help="seconds between batches")
    parser.add_argument("--batch", type=int, default=10000, help="messages in a batch")
    parser.add_argument("--nanny-frequency", type=float, default=30.0, help="seconds between the nanny's rounds")
    parser.add_argument("--nanny-threshold", type=float, default=60.0, help="seconds after which the nanny tries again")
    options = parser.parse_args()

    logging.basicConfig(stream=sys.stderr, level=logging.INFO)
    agent = kadabra.Agent(
        {
            "AGENT_TYPE": "batched",
            "AGENT_CHANNEL_ARGS": {"port": options.redis_port},
            "AGENT_PUBLISHER_TYPE": "influxdb",
            "AGENT_PUBLISHER_ARGS": {"port": options.influxdb_port, "database": options.database},
            "BATCHED_AGENT_INTERVAL_SECONDS": options.interval,
            "BATCHED_AGENT_MAX_BATCH_SIZE": options.batch,
            "AGENT_NANNY_FREQUENCY_SECONDS": options.nanny_frequency,
            "AGENT_NANNY_THRESHOLD_SECONDS": options.nanny_threshold,
        }
    )
    agent.start()


if __name__ == "__main__":
    main()
