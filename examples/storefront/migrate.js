// The migration, once per release and before it serves: pictures of releases before this one get a time, by which the
// worker tells which are old. The former release reads the list as before, so a rollback needs nothing.
import { connect } from './lib/backend.js';
import { fromEnvironment } from './lib/config.js';

async function main() {
  const { shared, close } = await connect(fromEnvironment(process.env).redisUrl, (text) => console.error(text));
  console.log(shared ? `${await shared.datePictures()} pictures had no time` : 'there is no Redis, and so nothing to migrate');
  await close();
}

main().catch((error) => {
  console.error(`migrate: ${error.message}`);
  process.exit(1);
});
