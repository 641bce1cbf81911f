// ioredis against the image, as it comes: its defaults, pipelines, bytes, many commands at once, a reconnect.
const assert = require("node:assert/strict");
const Redis = require("ioredis");

const port = Number(process.argv[2]);

async function main() {
  const client = new Redis(port, "127.0.0.1");
  const errors = [];
  client.on("error", (error) => errors.push(error));
  assert.equal(await client.ping(), "PONG");
  await client.flushall();
  assert.equal(await client.set("key", "value"), "OK");
  assert.equal(await client.get("key"), "value");
  assert.equal(await client.get("nothing"), null);
  assert.equal(await client.set("key", "other", "NX"), null);
  assert.equal(await client.set("key", "other", "EX", 100, "GET"), "value");
  assert.ok((await client.ttl("key")) >= 99);
  assert.equal(await client.incrby("n", 42), 42);
  await client.mset({ a: 1, b: 2 });
  assert.deepEqual(await client.mget("a", "b", "c"), ["1", "2", null]);
  assert.equal(await client.del("a", "b", "c"), 2);
  await assert.rejects(client.incr("key"), /not an integer/);

  const bytes = Buffer.from(Array.from({ length: 70000 }, (_, n) => n & 255));
  await client.set(bytes.subarray(0, 256), bytes);
  assert.deepEqual(await client.getBuffer(bytes.subarray(0, 256)), bytes);
  await client.del(bytes.subarray(0, 256));

  const pipeline = client.pipeline();
  for (let n = 0; n < 1000; n++) pipeline.set(`p:${n}`, n).incr(`p:${n}`);
  const results = await pipeline.exec();
  assert.equal(results.length, 2000);
  results.forEach(([error, reply], at) => {
    assert.equal(error, null);
    assert.equal(reply, at % 2 ? (at - 1) / 2 + 1 : "OK");
  });

  // Without awaiting: ioredis writes them as they come, and the replies are in order.
  const echoes = await Promise.all(Array.from({ length: 2000 }, (_, n) => client.echo(`${n}`)));
  assert.deepEqual(echoes, Array.from({ length: 2000 }, (_, n) => `${n}`));

  const seen = new Set();
  for await (const keys of client.scanStream({ match: "p:*", count: 100 })) keys.forEach((key) => seen.add(key));
  assert.equal(seen.size, 1000);

  // A client that loses its connection comes back by itself.
  client.disconnect(true);
  assert.equal(await client.get("p:1"), "2");

  const others = Array.from({ length: 20 }, () => new Redis(port, "127.0.0.1", { db: 3 }));
  await Promise.all(others.map((other, n) => other.incrby("sum", n)));
  assert.equal(await others[0].get("sum"), "190");
  assert.equal(await client.get("sum"), null);
  await Promise.all(others.map((other) => other.quit()));
  await client.flushall();
  await client.quit();
  assert.deepEqual(errors, []);
}

main().catch((failure) => {
  console.error(failure);
  process.exit(1);
});
