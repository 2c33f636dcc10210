import { spawn } from 'node:child_process';
import { once } from 'node:events';
import fs from 'node:fs';
import http from 'node:http';
import os from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect } from 'chai';
import { fromEnvironment } from '../lib/config.js';
import { eventually } from './support/shop.js';

const program = fileURLToPath(new URL('../start.js', import.meta.url));

describe('the program', () => {
  let child, dir, lines;

  function start(env) {
    child = spawn(process.execPath, [program], { env: { ...process.env, HOST: '127.0.0.1', PORT: '0', ...env } });
    lines = [];
    child.stdout.on('data', (chunk) => lines.push(...chunk.toString().trim().split('\n').map((text) => JSON.parse(text))));
  }

  async function listening() {
    for (;;) {
      const line = lines.find(({ message }) => message === 'listening');
      if (line) {
        return line.port;
      }
      await once(child.stdout, 'data');
    }
  }

  beforeEach(() => (dir = fs.mkdtempSync(path.join(os.tmpdir(), 'storefront-'))));
  afterEach(() => {
    child.kill('SIGKILL');
    fs.rmSync(dir, { recursive: true });
  });

  it('finishes the request in flight after SIGTERM, takes no other and ends with 0', async () => {
    start({});
    const port = await listening();
    const agent = new http.Agent({ keepAlive: true });

    // An upload whose body is still on its way. The server says "continue" when it has the request.
    const headers = { 'Content-Type': 'multipart/form-data; boundary=x', Expect: '100-continue' };
    const req = http.request({ port, agent, method: 'POST', path: '/upload', headers });
    const answered = once(req, 'response');
    const taken = once(req, 'continue');
    req.flushHeaders();
    await taken;
    req.write('--x\r\nContent-Disposition: form-data; name="alt"\r\n\r\nslow\r\n');

    const exited = once(child, 'exit');
    child.kill('SIGTERM');
    child.kill('SIGTERM');
    await eventually(() => lines.some(({ message }) => message === 'stopping'));
    const [refused] = await once(http.get({ port, path: '/healthz' }), 'error');
    expect(refused.code).to.be.oneOf(['ECONNREFUSED', 'ECONNRESET']); // reset: it came while the port was closing

    req.end('--x--\r\n');
    const [res] = await answered;
    res.resume();
    expect(res.statusCode).to.equal(415);
    expect(await exited).to.deep.equal([0, null]);
    agent.destroy();
  });

  it('writes its log to LOG_DIR and reopens it on SIGHUP', async () => {
    start({ LOG_DIR: dir });
    const file = path.join(dir, 'app.log');
    await eventually(() => fs.existsSync(file) && fs.readFileSync(file, 'utf8').includes('listening'));
    fs.renameSync(file, `${file}.moved`);
    child.kill('SIGHUP');
    await eventually(() => fs.existsSync(file));
    const exited = once(child, 'exit');
    child.kill('SIGINT');
    expect(await exited).to.deep.equal([0, null]);
    expect(fs.readFileSync(file, 'utf8')).to.include('"stopped"');
  });

  it('says what is wrong with its environment', async () => {
    start({ PORT: 'eighty' });
    let text = '';
    child.stderr.on('data', (chunk) => (text += chunk));
    expect((await once(child, 'close'))[0]).to.equal(1);
    expect(text).to.include('storefront: PORT: want 0 to 65535, got "eighty"');
  });
});

describe('the settings', () => {
  it('have defaults', () => {
    expect(fromEnvironment({})).to.include({ port: 3000, host: '0.0.0.0', redisUrl: '', logDir: '', release: 'development' });
  });

  it('come from the environment', () => {
    expect(fromEnvironment({ PORT: '80', RELEASE: 'sha256:1', VERSION: 'abc' })).to.include({ port: 80, release: 'sha256:1', version: 'abc' });
  });

  it('refuse a port that is none', () => {
    ['-1', '65536', 'x', '1.5'].forEach((PORT) => expect(() => fromEnvironment({ PORT }), PORT).to.throw(/PORT/));
  });
});
