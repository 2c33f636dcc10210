import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import { expect } from 'chai';
import { fakeRedis } from './support/redis.js';
import { eventually } from './support/shop.js';

const OLD = JSON.stringify({ id: 'a', alt: 'old', at: 1 });

describe('beside the shop', () => {
  let redis, child, out;

  function start(program, env) {
    child = spawn(process.execPath, [fileURLToPath(new URL(`../${program}`, import.meta.url))], { env: { ...process.env, ...env } });
    out = '';
    child.stdout.on('data', (chunk) => (out += chunk));
    return once(child, 'exit');
  }

  beforeEach(async () => (redis = await fakeRedis()));
  afterEach(async () => {
    child.kill('SIGKILL');
    await redis.stop();
  });

  it('the migration gives pictures a time and ends', async () => {
    redis.list('storefront:pictures').push('{"id":"b","alt":"undated"}', OLD);
    expect(await start('migrate.js', { REDIS_URL: redis.url })).to.deep.equal([0, null]);
    expect(out).to.equal('1 pictures had no time\n');
    expect(redis.list('storefront:pictures').every((text) => JSON.parse(text).at > 0)).to.equal(true);
  });

  it('the migration fails when Redis is away', async () => {
    const { url } = redis;
    await redis.stop();
    const [code] = await start('migrate.js', { REDIS_URL: url });
    expect(code).not.to.equal(0);
  });

  it('the worker removes old pictures, and ends at SIGTERM', async () => {
    redis.list('storefront:pictures').push(OLD);
    const exited = start('worker.js', { REDIS_URL: redis.url });
    await eventually(() => out.includes('1 old pictures removed'));
    child.kill('SIGTERM');
    expect(await exited).to.deep.equal([0, null]);
  });

  it('the worker stays without a Redis', async () => {
    const exited = start('worker.js', { REDIS_URL: '' });
    await eventually(() => out.includes('the worker is there'));
    child.kill('SIGTERM');
    expect(await exited).to.deep.equal([0, null]);
  });
});
