// Load on demand, for rehearsing what guards the hosts. It runs in threads, so that the pages stay quick.
import { Worker } from 'node:worker_threads';

export const LIMITS = { seconds: 300, workers: 4, mebibytes: 512 };

/** Keeps the threads that are burning; never more than LIMITS.workers of them. */
export function createLoad() {
  const running = new Set();
  return {
    running: () => running.size,

    /**
     * Starts what fits.
     *
     * @param {{seconds: number, workers: number, mebibytes: number}} wanted within LIMITS
     * @returns {number} how many threads that was
     */
    start({ seconds, workers, mebibytes }) {
      const count = Math.min(workers, LIMITS.workers - running.size);
      for (let i = 0; i < count; i++) {
        // Memory is asked for once, not once for each thread.
        const worker = new Worker(new URL('./burn.js', import.meta.url), {
          workerData: { seconds, mebibytes: i === 0 ? mebibytes : 0 },
        });
        running.add(worker);
        worker.once('exit', () => running.delete(worker));
        worker.on('error', () => running.delete(worker));
      }
      return count;
    },

    stop: () => Promise.all([...running].map((worker) => worker.terminate())),
  };
}
