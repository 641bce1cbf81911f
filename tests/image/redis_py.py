"""redis-py against the image, as it comes: its defaults, then RESP2, text, a pool and pipelines."""
import sys
import threading

import redis

port = int(sys.argv[1])
for options in ({}, {"protocol": 2}, {"decode_responses": True}):
    client = redis.Redis(host="127.0.0.1", port=port, **options)
    text = (lambda s: s) if options.get("decode_responses") else (lambda s: s.encode())
    assert client.ping() is True
    assert client.flushall() is True
    assert client.set("key", "value") is True
    assert client.get("key") == text("value")
    assert client.get("nothing") is None
    assert client.set("key", "other", nx=True) is None
    assert client.set("key", "other", get=True) == text("value")
    assert client.set("key", "lived", ex=100) is True and 98 <= client.ttl("key") <= 100
    assert client.set("key", "lived", px=100_000) is True and 98_000 <= client.pttl("key") <= 100_000
    assert client.expire("key", 50) is True and client.ttl("key") in (49, 50)
    assert client.ttl("nothing") == -2
    assert client.incr("n") == 1 and client.incr("n", 41) == 42
    assert client.mset({"a": 1, "b": 2}) is True
    assert client.mget("a", "b", "c") == [text("1"), text("2"), None]
    assert client.exists("a", "b", "c") == 2 and client.delete("a", "b", "c") == 2
    assert client.dbsize() == 2
    assert sorted(client.scan_iter(count=1)) == [text("key"), text("n")]
    assert client.info()["db0"]["keys"] == 2
    assert "maxmemory" in client.config_get("maxmemory")
    try:
        client.incr("key")
    except redis.ResponseError as error:
        assert "not an integer" in str(error)
    else:
        raise AssertionError("INCR of text is an error")

    pipeline = client.pipeline(transaction=False)
    for i in range(1000):
        pipeline.set(f"p:{i}", i)
    assert pipeline.execute() == [True] * 1000
    for i in range(1000):
        pipeline.get(f"p:{i}")
    assert pipeline.execute() == [text(str(i)) for i in range(1000)]
    # One bad command in a pipeline answers for itself only.
    pipeline.set("x", 1).incr("key").get("x")
    good, bad, value = pipeline.execute(raise_on_error=False)
    assert good is True and isinstance(bad, redis.ResponseError) and value == text("1")

binary = bytes(range(256)) * 300
client = redis.Redis(host="127.0.0.1", port=port)
assert client.set(binary[:256], binary) and client.get(binary[:256]) == binary

pool = redis.ConnectionPool(host="127.0.0.1", port=port, max_connections=20)
failures = []


def work(number):
    try:
        mine = redis.Redis(connection_pool=pool)
        for i in range(100):
            assert mine.incr(f"worker:{number}") == i + 1
    except Exception as failure:  # told by the main thread
        failures.append(failure)


threads = [threading.Thread(target=work, args=(number,)) for number in range(20)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
assert not failures, failures
client.flushall()
