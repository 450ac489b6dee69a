// SHA-256 of bytes that may be many, in pieces, so that scoring goes on meanwhile.
import { createHash } from 'node:crypto';
import { setImmediate } from 'node:timers/promises';

const digestedAtOnce = 1 << 20;

export async function sha256Of(bytes: Uint8Array): Promise<string> {
  const hash = createHash('sha256');
  for (let at = 0; at < bytes.length; at += digestedAtOnce) {
    hash.update(bytes.subarray(at, at + digestedAtOnce));
    await setImmediate();
  }
  return hash.digest('hex');
}
