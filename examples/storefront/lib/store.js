// What visitors leave behind: the pages they looked at and the pictures they sent.
import { randomUUID } from 'node:crypto';

export const RECENT = 5; // pages on the front page
export const PICTURES = 12; // pictures in the gallery; the oldest makes room
const TIMEOUT_MS = 500; // after which Redis counts as away

/**
 * A store for one process. Both stores have the same methods, all of them asynchronous:
 *
 * - visit(url) puts a page in front of the recent ones
 * - recent() returns them, newest first
 * - addPicture({type, alt, data}) keeps a picture and returns its id
 * - pictures() returns {id, alt} of the newest
 * - picture(id) returns {id, type, alt, data}, or undefined
 */
export function memoryStore() {
  let recent = [];
  let pictures = [];
  return {
    async visit(url) {
      recent = [url, ...recent.filter((other) => other !== url)].slice(0, RECENT);
    },
    recent: async () => recent,
    async addPicture(picture) {
      const id = randomUUID();
      pictures = [{ ...picture, id }, ...pictures].slice(0, PICTURES);
      return id;
    },
    pictures: async () => pictures.map(({ id, alt }) => ({ id, alt })),
    picture: async (id) => pictures.find((picture) => picture.id === id),
  };
}

/**
 * A store for all hosts: a picture that one of them took is in the gallery of every other. The list of pictures has
 * {id, alt, at} of each; releases before `at` wrote none and take no notice of it. Beside what both stores have:
 *
 * - datePictures() gives those without a time the present one, and returns how many there were
 * - dropPictures(before) removes the older ones, and returns how many there were
 */
export function redisStore(client) {
  const recentKey = 'storefront:recent';
  const listKey = 'storefront:pictures';
  const key = (id) => `storefront:picture:${id}`;

  return {
    // One transaction: two visitors at once must not leave a page in the list twice.
    async visit(url) {
      await client.multi().lRem(recentKey, 0, url).lPush(recentKey, url).lTrim(recentKey, 0, RECENT - 1).exec();
    },
    recent: () => client.lRange(recentKey, 0, RECENT - 1),
    async addPicture({ type, alt, data }) {
      const id = randomUUID();
      await client.multi()
        .hSet(key(id), { type, alt, data: data.toString('base64') })
        .lPush(listKey, JSON.stringify({ id, alt, at: Date.now() }))
        .exec();
      // The list says which pictures there are, so it is cut before they are deleted.
      const old = await client.lRange(listKey, PICTURES, -1);
      if (old.length > 0) {
        await client.multi()
          .lTrim(listKey, 0, PICTURES - 1)
          .del(old.map((text) => key(JSON.parse(text).id)))
          .exec();
      }
      return id;
    },
    async pictures() {
      const list = await client.lRange(listKey, 0, PICTURES - 1);
      return list.map((text) => JSON.parse(text)).map(({ id, alt }) => ({ id, alt }));
    },
    async picture(id) {
      const { type, alt, data } = await client.hGetAll(key(id));
      return type && { id, type, alt, data: Buffer.from(data, 'base64') };
    },
    // Pictures may come while this runs, so places in the list are found by what stands there.
    async datePictures() {
      const undated = (await client.lRange(listKey, 0, -1)).filter((text) => !JSON.parse(text).at);
      for (const text of undated) {
        const dated = JSON.stringify({ ...JSON.parse(text), at: Date.now() });
        await client.multi().lInsert(listKey, 'BEFORE', text, dated).lRem(listKey, 1, text).exec();
      }
      return undated.length;
    },
    async dropPictures(before) {
      const old = (await client.lRange(listKey, 0, -1)).filter((text) => JSON.parse(text).at < before);
      for (const text of old) {
        await client.multi().lRem(listKey, 1, text).del(key(JSON.parse(text).id)).exec();
      }
      return old.length;
    },
  };
}

/**
 * Asks first, and second when first fails or does not answer in time: a page is never lost to Redis.
 * Writes go to one of them only; what was written while Redis was away stays on this host.
 */
export function withFallback(first, second) {
  const both = {};
  Object.keys(second).forEach((name) => {
    both[name] = async (...args) => {
      try {
        return await inTime(first[name](...args));
      } catch {
        return second[name](...args);
      }
    };
  });
  return both;
}

// A connection can be up and silent, as when a host is cut off; the client would wait for minutes.
function inTime(promise) {
  let timer;
  const late = new Promise((resolve, reject) => {
    timer = setTimeout(() => reject(new Error('no answer')), TIMEOUT_MS);
  });
  return Promise.race([promise, late]).finally(() => clearTimeout(timer));
}
