// A shop for a test, with everything that was not asked for kept in memory.
import { setTimeout as sleep } from 'node:timers/promises';
import { createApp } from '../../lib/app.js';
import { fromEnvironment } from '../../lib/config.js';
import { noFlags } from '../../lib/flags.js';
import { createLoad } from '../../lib/load.js';
import { memoryStore } from '../../lib/store.js';

export function shop(parts = {}) {
  const lines = [];
  const app = createApp({
    config: fromEnvironment({ RELEASE: 'sha256:0123456789abcdef', VERSION: 'fedcba9876543210' }),
    state: { ready: true },
    store: memoryStore(),
    flags: noFlags(),
    load: createLoad(),
    log: { write: (entry) => lines.push(entry) },
    ...parts,
  });
  return { app, lines };
}

/** Repeats check until it returns something true, for at most 60 s (a busy machine takes its time). */
export async function eventually(check) {
  const until = Date.now() + 60000;
  for (;;) {
    const found = await check();
    if (found) {
      return found;
    }
    if (Date.now() > until) {
      throw new Error('did not happen within 60 s');
    }
    await sleep(10);
  }
}
