// The shop's own Redis, and what the shop does without it.
import { createClient } from 'redis';
import { memoryStore, redisStore, withFallback } from './store.js';

const FIRST_CONNECTION_MS = 2000;

/**
 * Connects to Redis at url and returns the store that lives there. It waits a moment for the first connection
 * and goes on without one: the shop opens with Redis away, and finds it when it is back.
 *
 * @param {string} url redis://:PASSWORD@HOST:PORT, or empty for none
 * @param {function(string)} warn gets a line when Redis goes away, and one when it is back
 * @returns {Promise<{store: Object, shared: Object|null, close: function(): Promise}>} shared is the store in Redis alone,
 *   whose methods fail while Redis is away
 */
export async function connect(url, warn) {
  if (!url) {
    return { store: memoryStore(), shared: null, close: async () => {} };
  }
  const client = createClient({
    url,
    disableOfflineQueue: true, // a command fails at once while Redis is away, instead of piling up
    pingInterval: 5000, // notices a connection that died in silence
    socket: { connectTimeout: 2000, reconnectStrategy: (retries) => Math.min(100 * 2 ** retries, 2000) },
  });

  // One line for each change of state, not one for each attempt.
  let away = false;
  client.on('error', (error) => {
    if (!away) {
      away = true;
      warn(`redis is away: ${error.message || error.code}`);
    }
  });
  client.on('ready', () => {
    if (away) {
      away = false;
      warn('redis is back');
    }
  });

  await Promise.race([client.connect().catch(() => {}), delay(FIRST_CONNECTION_MS)]);

  const shared = redisStore(client);
  return {
    store: withFallback(shared, memoryStore()),
    shared,
    close: async () => client.destroy(),
  };
}

function delay(ms) {
  return new Promise((resolve) => setTimeout(resolve, ms).unref());
}
