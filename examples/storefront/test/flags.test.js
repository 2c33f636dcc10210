import http from 'node:http';
import { once } from 'node:events';
import { expect } from 'chai';
import { flagsAt } from '../lib/flags.js';

// What troop's agent answers, as docs/flags.md says.
async function agent(answer) {
  const server = http.createServer((req, res) => {
    const found = answer(req.url.replace('/ofrep/v1/evaluate/flags/', ''));
    if (found !== undefined) {
      res.writeHead(found.errorCode ? 404 : 200, { 'Content-Type': 'application/json' }).end(JSON.stringify(found));
    }
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return {
    url: `http://127.0.0.1:${server.address().port}`,
    stop: () => {
      server.closeAllConnections();
      server.close();
    },
  };
}

const PATIENT_MS = 60000; // where the agent answers, on a busy machine, too

describe('flags', () => {
  let here;
  afterEach(() => here && here.stop());

  it('a flag is asked anew each time', async () => {
    let value = true;
    here = await agent((key) => ({ key, value, reason: 'STATIC', variant: String(value) }));
    const flags = await flagsAt(here.url, PATIENT_MS);
    expect(await flags.isOn('new-feature')).to.equal(true);
    value = false;
    expect(await flags.isOn('new-feature')).to.equal(false);
  });

  it('what is not set or no boolean is off', async () => {
    here = await agent((key) => (key === 'color' ? { key, value: 'red' } : { key, errorCode: 'FLAG_NOT_FOUND' }));
    const flags = await flagsAt(here.url, PATIENT_MS);
    expect(await flags.isOn('new-feature')).to.equal(false);
    expect(await flags.isOn('color')).to.equal(false);
  });

  it('an agent that is silent or away keeps no page waiting', async () => {
    here = await agent(() => undefined);
    const flags = await flagsAt(here.url);
    const start = Date.now();
    expect(await flags.isOn('new-feature')).to.equal(false);
    expect(Date.now() - start).to.be.below(5000);
    here.stop();
    expect(await flags.isOn('new-feature')).to.equal(false);
  });

  it('without an agent all are off', async () => {
    expect(await (await flagsAt('')).isOn('new-feature')).to.equal(false);
  });
});
