// Feature flags, as `troop flag set` writes them: a key each, and a channel that tells of changes.

const PREFIX = 'troop:flag:';
const CHANNEL = 'troop:flags';
const NAMES = ['new-feature'];

/** Flags where there is no Redis: all off. */
export function noFlags() {
  return { isOn: () => false, refresh: async () => {} };
}

/**
 * Follows the flags. Reading one is a look-up in memory, never a request. Changes come through the channel;
 * because the channel forgets what was said while a connection was down, the keys are read again after
 * every connection. While Redis is away the last known values stand.
 */
export function followFlags(client, subscriber) {
  const values = new Map();

  async function refresh() {
    await Promise.all(NAMES.map(async (name) => {
      try {
        values.set(name, parse(await client.get(PREFIX + name)));
      } catch {
        // away again; the next connection comes back here
      }
    }));
  }

  client.on('ready', refresh);
  subscriber.on('ready', refresh);
  subscriber.subscribe(CHANNEL, (message) => {
    const flag = decode(message);
    if (NAMES.includes(flag.name)) {
      values.set(flag.name, flag.value);
    }
  }).catch(() => {}); // destroyed before it ever connected

  return {
    isOn: (name) => values.get(name) === true,
    refresh,
  };
}

// null: the key is not there, the flag was never set or is unset.
function parse(text) {
  return text === null ? undefined : decode(text).value;
}

function decode(text) {
  try {
    return JSON.parse(text) || {};
  } catch {
    return {}; // somebody else's value: the same as none
  }
}
