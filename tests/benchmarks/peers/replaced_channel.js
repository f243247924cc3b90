'use strict';

// One channel of replaced.js, given as the argument: every message is sent by itself, and lost after five
// attempts.

const { Kafka, logLevel } = require('kafkajs');
const { readChat } = require('./chat');

const ATTEMPTS = 5;

const { KAFKA_BROKERS, KAFKA_TOPIC } = process.env;

async function main(channel) {
  const producer = new Kafka({
    brokers: KAFKA_BROKERS.split(','),
    logLevel: logLevel.NOTHING,
    retry: { retries: ATTEMPTS - 1 },
  }).producer();
  await producer.connect();
  readChat([channel], (record) => {
    // A rejection comes after the last attempt: the message is lost, and nobody is told.
    producer.send({ topic: KAFKA_TOPIC, acks: -1, messages: [record] }).catch(() => {});
  });
}

// The main process has been killed.
process.once('disconnect', () => process.exit());
main(process.argv[2]);
