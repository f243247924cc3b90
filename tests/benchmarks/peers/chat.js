'use strict';

// Twitch chat to Kafka records with tmi.js: what the two designs in Node have in common.

const tmi = require('tmi.js');

// Connects as an anonymous viewer and calls onRecord with the { key, value } of every chat message.
function readChat(channels, onRecord) {
  const client = new tmi.Client({
    connection: {
      server: '127.0.0.1',
      port: Number(process.env.TWITCH_WS_PORT),
      secure: false,
      reconnect: true,
    },
    // Neither is in a record: who else is in the channel, and emote sets, which tmi.js would fetch by HTTP.
    options: { skipMembership: true, skipUpdatingEmotesets: true },
    logger: { info() {}, warn() {}, error() {} },
  });

  // Channels in the options would be joined one each 300 ms at best. join() pairs answers with the channel
  // joined last, so of many at once it takes most for refused. raw() has neither limit.
  client.on('connected', () => {
    // Those of the last connection, which tmi.js would join again one by one.
    client.getChannels().length = 0;
    for (const channel of channels) client.raw(`JOIN #${channel}`);
  });

  const take = (channel, tags, message) => onRecord(recordOf(channel.slice(1), tags, message));
  client.on('message', (channel, tags, message) => {
    if (tags['message-type'] !== 'whisper') take(channel, tags, message);
  });
  // tmi.js tells a message with Bits by this event alone.
  client.on('cheer', take);

  // tmi.js connects again on its own; the rejection only says that the first attempt failed.
  client.connect().catch(() => {});
  return client;
}

function recordOf(channel, tags, message) {
  const value = {
    channel,
    userId: tags['user-id'] ?? '',
    username: tags.username,
    message,
    timestamp: Number(tags['tmi-sent-ts']) || Date.now(),
    emotes: tags.emotes ? emoteTexts(tags.emotes, message) : [],
  };
  return { key: channel, value: Buffer.from(JSON.stringify(value)) };
}

// Twitch counts code points, a JavaScript string UTF-16 units.
function emoteTexts(emotes, message) {
  const points = Array.from(message);
  return Object.values(emotes)
    .flat()
    .map((range) => range.split('-').map(Number))
    .filter(([start, end]) => start <= end && end < points.length)
    .sort(([one], [other]) => one - other)
    .map(([start, end]) => points.slice(start, end + 1).join(''));
}

module.exports = { readChat };
