// Which messages the challenger scores too: a share of them, chosen by where they lie in the log, so that every scorer, and
// one that reads a message again, chooses the same.

export type Sampler = (partition: number, offset: number) => boolean;

/** Chooses the share `rate` of the topic's messages, 0 … 1. */
export function createSampler(topic: string, rate: number): Sampler {
  const limit = rate * 2 ** 32;
  const seed = hashText(topic);
  return (partition, offset) => {
    const low = offset >>> 0;
    const high = (offset - low) / 2 ** 32;
    return mix(mix(mix(seed ^ partition) ^ high) ^ low) < limit;
  };
}

/** FNV-1a of the text's UTF-16 units. */
function hashText(text: string): number {
  let hash = 0x811c9dc5;
  for (let index = 0; index < text.length; index += 1)
    hash = Math.imul(hash ^ text.charCodeAt(index), 0x01000193);
  return hash;
}

/** MurmurHash3's last step, which makes of neighbours what chance would: 0 … 2^32 − 1. */
function mix(value: number): number {
  let hash = value;
  hash = Math.imul(hash ^ (hash >>> 16), 0x85ebca6b);
  hash = Math.imul(hash ^ (hash >>> 13), 0xc2b2ae35);
  return (hash ^ (hash >>> 16)) >>> 0;
}
