// Pictures from strangers: their type is read from their bytes, never from what the browser says.

const SIGNATURES = [
  ['image/png', (b) => b.subarray(0, 8).equals(Buffer.from([0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a]))],
  ['image/jpeg', (b) => b[0] === 0xff && b[1] === 0xd8 && b[2] === 0xff],
  ['image/gif', (b) => /^GIF8[79]a$/.test(b.toString('latin1', 0, 6))],
  ['image/webp', (b) => b.toString('latin1', 0, 4) === 'RIFF' && b.toString('latin1', 8, 12) === 'WEBP'],
];

/**
 * @param {Buffer} bytes
 * @returns {string|undefined} the media type of bytes, undefined when it is none that the gallery shows
 */
export function imageType(bytes) {
  const known = SIGNATURES.find(([, matches]) => matches(bytes));
  return known && known[0];
}
