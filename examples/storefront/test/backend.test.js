import { expect } from 'chai';
import { connect } from '../lib/backend.js';
import { PICTURES } from '../lib/store.js';
import { fakeRedis } from './support/redis.js';
import { eventually } from './support/shop.js';

describe('with Redis', () => {
  let redis, backend, warnings;

  async function open() {
    warnings = [];
    backend = await connect(redis.url, (text) => warnings.push(text));
  }

  beforeEach(async () => (redis = await fakeRedis()));
  afterEach(async () => {
    await backend.close();
    await redis.stop();
  });

  it('the recent pages are shared', async () => {
    await open();
    for (const url of ['/a', '/b', '/c', '/d', '/e', '/f', '/b']) {
      await backend.store.visit(url);
    }
    expect(await backend.store.recent()).to.deep.equal(['/b', '/f', '/e', '/d', '/c']);
    expect(redis.list('storefront:recent')).to.have.length(5);
  });

  it('the pictures are shared, and the oldest goes', async () => {
    await open();
    const bytes = Buffer.from([0, 255, 10, 13, 128]);
    const ids = [];
    for (let i = 0; i <= PICTURES; i++) {
      ids.push(await backend.store.addPicture({ type: 'image/gif', alt: `picture ${i}`, data: bytes }));
    }
    const list = await backend.store.pictures();
    expect(list).to.have.length(PICTURES);
    expect(list[0]).to.deep.equal({ id: ids[PICTURES], alt: `picture ${PICTURES}` });
    const newest = await backend.store.picture(ids[PICTURES]);
    expect(newest.data.equals(bytes)).to.equal(true);
    expect(await backend.store.picture(ids[0])).to.equal(undefined);
  });

  it('pictures without a time get one, and old ones go', async () => {
    await open();
    const { store, shared } = backend;
    const picture = { type: 'image/gif', alt: 'new', data: Buffer.from([0]) };
    const id = await store.addPicture(picture);
    redis.list('storefront:pictures').push('{"id":"former","alt":"of a former release"}');
    expect(await shared.datePictures()).to.equal(1);
    expect(await shared.datePictures()).to.equal(0);
    expect((await store.pictures()).map(({ alt }) => alt)).to.deep.equal(['new', 'of a former release']);
    expect(await shared.dropPictures(Date.now() - 60000)).to.equal(0);
    expect(await shared.dropPictures(Date.now() + 60000)).to.equal(2);
    expect(await store.pictures()).to.deep.equal([]);
    expect(await store.picture(id)).to.equal(undefined);
  });

  it('visits while Redis is away are kept here, and Redis is found when it is back', async () => {
    await open();
    const { port } = redis;
    await redis.stop();
    await backend.store.visit('/while-away');
    expect(await backend.store.recent()).to.deep.equal(['/while-away']);

    redis = await fakeRedis(port);
    await eventually(() => warnings.length === 2);
    expect(warnings[0]).to.match(/^redis is away/);
    expect(warnings[1]).to.equal('redis is back');
    await eventually(async () => {
      await backend.store.visit('/back');
      return redis.list('storefront:recent').includes('/back');
    });
  });

  it('a page does not wait for a Redis that is silent', async () => {
    await open();
    redis.mute();
    const start = Date.now();
    expect(await backend.store.recent()).to.deep.equal([]);
    expect(Date.now() - start).to.be.below(3000);
  });
});

describe('without Redis', () => {
  it('the shop opens with memory alone', async () => {
    const { store, close } = await connect('', () => {});
    await store.visit('/');
    expect(await store.recent()).to.deep.equal(['/']);
    await close();
  });

  it('the shop opens when Redis does not answer', async () => {
    const redis = await fakeRedis();
    await redis.stop();
    const { store, close } = await connect(redis.url, () => {});
    await store.visit('/');
    expect(await store.recent()).to.deep.equal(['/']);
    await close();
  });
});
