// The worker: removes pictures that are older than KEEP_DAYS, until SIGTERM or SIGINT.
import { connect } from './lib/backend.js';
import { fromEnvironment } from './lib/config.js';

const EVERY_MS = 60000;

async function main() {
  const { redisUrl, keepMs } = fromEnvironment(process.env);
  const { shared, close } = await connect(redisUrl, (text) => console.log(text));

  // Redis may be away; a later round finds it.
  const round = async () => {
    const dropped = shared ? await shared.dropPictures(Date.now() - keepMs).catch(() => 0) : 0;
    if (dropped > 0) {
      console.log(`${dropped} old pictures removed`);
    }
  };

  // Without a Redis there is nothing to do, but ending would be a failure.
  const timer = setInterval(round, EVERY_MS);
  const end = () => {
    clearInterval(timer);
    close();
  };
  process.on('SIGTERM', end);
  process.on('SIGINT', end);
  console.log('the worker is there');
  await round();
}

main().catch((error) => {
  console.error(`worker: ${error.message}`);
  process.exit(1);
});
