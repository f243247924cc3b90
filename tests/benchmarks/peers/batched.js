'use strict';

// One Node process for all channels: a single chat connection, and batches as large as what has come in while
// Kafka acknowledged the last one.

const { setTimeout: sleep } = require('node:timers/promises');
const { Kafka, logLevel } = require('kafkajs');
const { readChat } = require('./chat');

const LINGER_MS = 5;
// kafkajs does not split what goes to one partition, and Kafka refuses over 1 MiB by default. The limit holds
// for all partitions together, as all channels may be in one.
const MAX_BATCH_BYTES = 900_000;
const RECORD_OVERHEAD_BYTES = 30;
const EXIT_MS = 1000;

const { KAFKA_BROKERS, KAFKA_TOPIC, CHANNELS } = process.env;

const producer = new Kafka({
  brokers: KAFKA_BROKERS.split(','),
  logLevel: logLevel.NOTHING,
  // Chat waits in memory until Kafka is back.
  retry: { retries: Number.MAX_SAFE_INTEGER, maxRetryTime: 1000 },
}).producer();

const waiting = [];
let sending = null;

function gather(record) {
  waiting.push(record);
  sending ??= sendBatches();
}

// One batch at a time, so that a repeated one cannot overtake another of the same channel.
async function sendBatches() {
  await sleep(LINGER_MS);
  while (waiting.length > 0) {
    await producer.sendBatch({ acks: -1, topicMessages: [{ topic: KAFKA_TOPIC, messages: nextBatch() }] });
  }
  sending = null;
}

function nextBatch() {
  let count = 0;
  let bytes = 0;
  while (count < waiting.length) {
    const { key, value } = waiting[count];
    bytes += key.length + value.length + RECORD_OVERHEAD_BYTES;
    if (bytes > MAX_BATCH_BYTES && count > 0) break;
    count += 1;
  }
  return waiting.splice(0, count);
}

async function main() {
  await producer.connect();
  const chat = readChat(CHANNELS.split(','), gather);
  process.once('SIGTERM', async () => {
    // Without Kafka the last batch would be tried for ever.
    setTimeout(() => process.exit(), EXIT_MS);
    await chat.disconnect().catch(() => {});
    await sending;
    process.exit();
  });
}

main();
