"""/srv/shop/shop.py: a Flask application whose requests are measured, in a container beside that of the agent."""

import os

from flask import Flask, g
from flask_kadabra import Kadabra, record_metrics

app = Flask(__name__)
# Series of its own for each process that serves, so that no point of one is ever at the very time of another's.
Kadabra(
    app,
    {
        "CLIENT_CHANNEL_ARGS": {"host": "kadabra"},
        "CLIENT_DEFAULT_DIMENSIONS": {"service": "shop", "worker": str(os.getpid())},
    },
)


@app.route("/")
@record_metrics
def index():
    g.metrics.add_count("userSignup", 1.0)
    return "Hello, world!\n"
