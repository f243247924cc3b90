'use strict';

// The design that this service replaces: a main process forks one Node process per channel, each with a chat
// connection and a Kafka producer of its own.

const { fork } = require('node:child_process');
const path = require('node:path');

const children = [];
// Without children nothing is left to wait for, and this process ends as well.
process.once('SIGTERM', () => children.forEach((child) => child.kill()));
for (const channel of process.env.CHANNELS.split(',')) {
  children.push(fork(path.join(__dirname, 'replaced_channel.js'), [channel]));
}
