// What the environment says. Everything has a default that works on a laptop.

/**
 * @param {Object<string, string>} env such as process.env
 * @returns the settings; throws when PORT is not a port.
 */
export function fromEnvironment(env) {
  const port = Number(env.PORT || 3000);
  if (!Number.isInteger(port) || port < 0 || port > 65535) {
    throw new Error(`PORT: want 0 to 65535, got "${env.PORT}"`);
  }
  return {
    port,
    host: env.HOST || '0.0.0.0',
    redisUrl: env.REDIS_URL || '', // the shop's own Redis; empty: everything stays in memory
    flagsUrl: env.OFREP_ENDPOINT || '', // troop's agent on this host; empty: all flags are off
    logDir: env.LOG_DIR || '', // empty: the log goes to standard output
    release: env.RELEASE || 'development', // digest of the artifact
    version: env.VERSION || 'working copy', // commit
    keepMs: Number(env.KEEP_DAYS || 7) * 86400000, // how old a picture may get
    graceMs: 9000, // how long requests in flight may take after SIGTERM
  };
}
