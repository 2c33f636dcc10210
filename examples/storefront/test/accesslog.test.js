import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { expect } from 'chai';
import { createAccessLog } from '../lib/accesslog.js';
import { eventually } from './support/shop.js';

describe('the log', () => {
  let dir, file, log;
  beforeEach(() => {
    dir = path.join(fs.mkdtempSync(path.join(os.tmpdir(), 'storefront-')), 'log');
    file = path.join(dir, 'app.log');
    log = createAccessLog(dir);
  });
  afterEach((done) => {
    log.close(() => {
      fs.rmSync(path.dirname(dir), { recursive: true });
      done();
    });
  });

  const read = (name) => fs.readFileSync(name, 'utf8').trim().split('\n').map((text) => JSON.parse(text));

  it('has one JSON object a line, with the time', () => {
    log.write({ message: 'two\nlines' });
    log.write({ message: 'more' });
    const lines = read(file);
    expect(lines.map((line) => line.message)).to.deep.equal(['two\nlines', 'more']);
    expect(Date.parse(lines[0].time)).to.be.closeTo(Date.now(), 5000);
  });

  it('continues a file that is there', (done) => {
    log.write({ n: 1 });
    log.close(() => {
      log = createAccessLog(dir);
      log.write({ n: 2 });
      expect(read(file)).to.have.length(2);
      done();
    });
  });

  it('lets go of a file that was renamed, without being written to', async () => {
    log.write({ n: 1 });
    fs.renameSync(file, `${file}.moved`);
    await eventually(() => fs.existsSync(file));
    log.write({ n: 2 });
    expect(read(`${file}.moved`)).to.have.length(1);
    expect(read(file)[0].n).to.equal(2);
  });

  it('reopens at once when it is told to', () => {
    log.write({ n: 1 });
    fs.renameSync(file, `${file}.moved`);
    log.reopen();
    log.write({ n: 2 });
    expect(read(file)).to.have.length(1);
  });

  it('keeps the file it has when there can be no new one', () => {
    log.write({ n: 1 });
    fs.renameSync(dir, `${dir}.moved`);
    log.reopen();
    log.write({ n: 2 });
    expect(read(path.join(`${dir}.moved`, 'app.log'))).to.have.length(2);
  });

  it('counts the lines that a full disk has cost', () => {
    fs.rmSync(file);
    fs.symlinkSync('/dev/full', file);
    log.reopen();
    log.write({ n: 1 });
    log.write({ n: 2 });
    fs.rmSync(file);
    log.reopen();
    log.write({ n: 3 });
    log.write({ n: 4 });
    expect(read(file)[0]).to.include({ n: 3, lost: 2 });
    expect(read(file)[1]).not.to.have.property('lost');
  });

  it('goes to standard output without a folder', (done) => {
    const written = [];
    const plain = createAccessLog('', { write: (text) => written.push(text) });
    plain.write({ message: 'hello' });
    plain.reopen();
    expect(JSON.parse(written[0]).message).to.equal('hello');
    plain.close(done);
  });
});
