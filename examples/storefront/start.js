// The program: reads the environment, serves until SIGTERM or SIGINT, then ends without losing a request.
import http from 'node:http';
import { once } from 'node:events';
import { createAccessLog } from './lib/accesslog.js';
import { createApp } from './lib/app.js';
import { connect } from './lib/backend.js';
import { fromEnvironment } from './lib/config.js';
import { flagsAt } from './lib/flags.js';
import { createLoad } from './lib/load.js';

async function main() {
  const config = fromEnvironment(process.env);
  const log = createAccessLog(config.logDir);
  process.on('SIGHUP', () => log.reopen());

  const load = createLoad();
  // Not ready before it listens, and not any more once it is told to end.
  const state = { ready: false };
  const flags = await flagsAt(config.flagsUrl);
  const { store, close } = await connect(config.redisUrl, (text) => log.write({ level: 'warn', message: text }));
  const server = http.createServer(createApp({ config, state, store, flags, load, log }));

  // Longer than a proxy keeps an idle connection, so that it is never this side that closes one on which
  // the next request is already under way.
  server.keepAliveTimeout = 75000;
  server.headersTimeout = 80000;
  server.setTimeout(30000); // of silence, in the midst of a request

  server.listen(config.port, config.host);
  await once(server, 'listening');
  state.ready = true;
  log.write({ level: 'info', message: 'listening', host: config.host, port: server.address().port, release: config.release });

  let ending = false;
  const end = (signal) => {
    if (ending) {
      return;
    }
    ending = true;
    state.ready = false;
    log.write({ level: 'info', message: 'stopping', signal });

    // Requests that hang must not keep the old release alive beside the new one.
    setTimeout(() => process.exit(1), config.graceMs).unref();
    server.close(async () => {
      await close();
      log.write({ level: 'info', message: 'stopped' });
      log.close(() => process.exit(0));
    });
    // A connection that is busy now would be kept alive after its answer.
    setInterval(() => server.closeIdleConnections(), 50).unref();
    load.stop();
  };
  process.on('SIGTERM', end);
  process.on('SIGINT', end);
}

main().catch((error) => {
  process.stderr.write(`storefront: ${error.message}\n`);
  process.exit(1);
});
