// Pushes to the embedded channel as programs in node do, and checks what comes back. Arguments: port, password.
const assert = require("node:assert");
const Redis = require("ioredis");

const [port, password] = process.argv.slice(2);
const queue = "kadabra_queue";

async function main() {
  const redis = new Redis({ port: Number(port), password: password || undefined, connectionName: "node", retryStrategy: null });
  // Ready means that INFO was read and did not say that it is loading.
  await new Promise((resolve, reject) => redis.once("ready", resolve).once("error", reject));
  assert.strictEqual(await redis.ping(), "PONG");
  const before = await redis.llen(queue);
  assert.strictEqual(await redis.lpush(queue, "a", Buffer.from([0, 13, 10, 255])), before + 2);
  // These are sent together.
  const lengths = await Promise.all(Array.from({ length: 100 }, (_, number) => redis.lpush(queue, `n${number}`)));
  assert.deepStrictEqual(lengths, Array.from({ length: 100 }, (_, number) => before + 3 + number));
  const results = await redis.multi().lpush(queue, "m1").lpush(queue, "m2").exec();
  assert.deepStrictEqual(results, [[null, before + 103], [null, before + 104]]);
  const [oldest] = await redis.lrangeBuffer(queue, -1 - before, -1 - before);
  assert.deepStrictEqual(oldest, Buffer.from("a"));
  assert.match(await redis.client("LIST"), / name=node /);
  await assert.rejects(redis.lpush("typo", "x"), /is not the queue of this Kadabra agent/);
  await assert.rejects(redis.brpop(queue, 1), /is itself the channel/);
  await redis.quit();
  console.log("pushed", before + 104);
}

main().catch((error) => {
  console.error(error);
  process.exit(1);
});
