"""Pushes to the embedded channel with redis-py, whichever is installed, and checks what comes back."""

import argparse

import redis

try:
    import redis.backoff
    import redis.retry
except ImportError:
    pass

QUEUE = "kadabra_queue"


def refused(call, words):
    try:
        call()
    except redis.ResponseError as error:
        assert words in str(error), error
    else:
        raise AssertionError("was not refused: " + words)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--password")
    parser.add_argument("--protocol", type=int)
    options = parser.parse_args()

    settings = {"port": options.port, "password": options.password}
    if options.protocol:
        settings["protocol"] = options.protocol
    client = redis.StrictRedis(**settings)
    assert client.ping()
    before = client.llen(QUEUE)
    payload = bytes(range(256))
    assert client.lpush(QUEUE, "a", payload) == before + 2
    assert client.rpush(QUEUE, "old") == before + 3
    assert client.lrange(QUEUE, 0, 1) == [payload, b"a"]
    for transaction in [True, False]:
        pipeline = client.pipeline(transaction=transaction)
        for number in range(50):
            pipeline.lpush(QUEUE, "n%d" % number)
        length = client.llen(QUEUE)
        assert pipeline.execute() == list(range(length + 1, length + 51))
    refused(lambda: client.llen("typo"), "is not the queue of this Kadabra agent")
    assert client.echo("hi") == b"hi"
    assert client.client_setname("python")
    assert any(entry["name"] == "python" for entry in client.client_list())
    info = client.info()
    assert info["loading"] == 0 and info["role"] == "master" and info["queue"] == QUEUE, info
    assert info["queue_length"] == client.llen(QUEUE)
    refused(lambda: client.lpush("typo", "x"), "is not the queue of this Kadabra agent")
    refused(lambda: client.brpoplpush(QUEUE, "kadabra_inprogress", 1), "is itself the channel")
    refused(lambda: client.delete(QUEUE), "allow_delete")
    refused(lambda: client.set("a", "1"), "not a Redis")
    refused(lambda: client.lrange(QUEUE, "a", "b"), "not an integer")
    # What many clients do when the connection is broken: it is not.
    assert client.ping()
    if hasattr(redis, "retry"):
        # A new redis-py tries again several times, which takes seconds.
        settings["retry"] = redis.retry.Retry(redis.backoff.NoBackoff(), 0)
    try:
        redis.StrictRedis(**dict(settings, db=1)).ping()
    except redis.RedisError as error:
        assert "database 0" in str(error) or "Invalid Database" in str(error) or "out of range" in str(error), error
    else:
        raise AssertionError("database 1 was not refused")
    if options.password:
        for password in [None, "wrong"]:
            try:
                redis.StrictRedis(**dict(settings, password=password)).ping()
            except redis.RedisError as error:
                assert isinstance(error, (redis.AuthenticationError, redis.ConnectionError, redis.ResponseError)), error
            else:
                raise AssertionError("was let in")
    print("pushed %d" % client.llen(QUEUE))


if __name__ == "__main__":
    main()
