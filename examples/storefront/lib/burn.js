// A thread of load.js: holds memory and computes until its time is over.
import { workerData } from 'node:worker_threads';

const { seconds, mebibytes } = workerData;
const until = Date.now() + seconds * 1000;
const held = Buffer.alloc(mebibytes * 1024 * 1024, 1); // filled, so that the pages are really there

let sum = held.length;
while (Date.now() < until) {
  for (let i = 0; i < 1e5; i++) {
    sum = (sum * 31 + i) % 1000003;
  }
}
