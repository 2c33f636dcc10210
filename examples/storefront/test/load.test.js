import { expect } from 'chai';
import request from 'supertest';
import { createLoad, LIMITS } from '../lib/load.js';
import { eventually, shop } from './support/shop.js';

describe('load', () => {
  let load;
  beforeEach(() => (load = createLoad()));
  afterEach(() => load.stop());

  it('shows a form until it is asked for', async () => {
    await request(shop({ load }).app).get('/load').expect(200, /Threads at work on this host: <strong>0</);
    expect(load.running()).to.equal(0);
  });

  it('burns for as long as it was told, while pages are served', async () => {
    const { app } = shop({ load });
    const before = process.cpuUsage();
    await request(app).get('/load?seconds=1&mebibytes=8').expect(202, /Started 1 thread for 1 s/);
    await request(app).get('/').expect(200);
    expect(load.running(), 'threads at work when the page came').to.equal(1);
    await eventually(() => load.running() === 0);
    expect(process.cpuUsage(before).user / 1000, 'milliseconds of CPU').to.be.above(100);
  });

  it('is bounded, whatever is asked for', async () => {
    const asked = [];
    const { app } = shop({ load: { running: () => 0, start: (wanted) => asked.push(wanted) } });
    await request(app).get('/load?seconds=1e9&workers=999&mebibytes=999999');
    await request(app).get('/load?seconds=-5&workers=x&mebibytes=-1');
    expect(asked).to.deep.equal([
      { seconds: 1, workers: LIMITS.workers, mebibytes: LIMITS.mebibytes },
      { seconds: 1, workers: 1, mebibytes: 0 },
    ]);
  });

  it('refuses more threads than its limit', async () => {
    const { app } = shop({ load });
    await request(app).get(`/load?seconds=60&workers=${LIMITS.workers}`).expect(202);
    await request(app).get('/load?seconds=60').expect(429);
    await load.stop();
    await eventually(() => load.running() === 0);
  });
});
