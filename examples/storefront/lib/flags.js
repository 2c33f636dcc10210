// Feature flags, asked of troop's agent on this host by OFREP, through OpenFeature's SDK. The agent knows all flags, also
// while the environment's Redis is away; the shop knows neither that Redis nor its password.
/* global fetch, AbortSignal */
import { OFREPProvider } from '@openfeature/ofrep-provider';
import { OpenFeature } from '@openfeature/server-sdk';

/** Flags where there is no agent: all off. */
export function noFlags() {
  return { isOn: async () => false };
}

/**
 * @param {string} endpoint of the agent, such as http://127.0.0.1:8016, or empty for none
 * @param {number} timeout in milliseconds, after which the agent counts as away
 * @returns {Promise<{isOn: function(string): Promise<boolean>}>} what is not set, cannot be read or is no boolean is off
 */
export async function flagsAt(endpoint, timeout = 500) {
  if (!endpoint) {
    return noFlags();
  }
  const provider = new OFREPProvider({
    baseUrl: endpoint,
    fetchImplementation: (url, init) => fetch(url, { ...init, signal: AbortSignal.timeout(timeout) }),
  });
  await OpenFeature.setProviderAndWait(endpoint, provider);
  const client = OpenFeature.getClient(endpoint);
  return { isOn: (name) => client.getBooleanValue(name, false) };
}
