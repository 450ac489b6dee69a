import { expect, test } from 'bun:test';
import { gzipSync, zstdCompressSync } from 'node:zlib';
import kafkajs from 'kafkajs';
import { compressFrameSync } from 'lz4-napi';
import { compressSync } from 'snappy';
import { useCodecs } from './broker-kafka-codecs.ts';

const { CompressionCodecs, CompressionTypes } = kafkajs;
const sizeMax = 1 << 20;
useCodecs(sizeMax);

const contents = {
  nothing: Buffer.alloc(0),
  text: Buffer.from('temperature humidity sound '.repeat(2_000)),
  noise: Buffer.from(crypto.getRandomValues(new Uint8Array(40_000))),
};
const most = Buffer.from(crypto.getRandomValues(new Uint8Array(sizeMax / 2)).toHex());

/** As Java's producers and brokers do: blocks of 32 KiB, each after its size. */
function packXerial(content: Buffer): Buffer {
  const blocks: Buffer[] = [Buffer.from('\x82SNAPPY\0\0\0\0\x01\0\0\0\x01', 'latin1')];
  for (let at = 0; at < content.length; at += 32_768) {
    const block = compressSync(content.subarray(at, at + 32_768));
    const size = Buffer.alloc(4);
    size.writeUInt32BE(block.length);
    blocks.push(size, block);
  }
  return Buffer.concat(blocks);
}

const packers = [
  ['gzip', CompressionTypes.GZIP, gzipSync],
  ['Snappy', CompressionTypes.Snappy, (content: Buffer) => compressSync(content)],
  ['Snappy in blocks', CompressionTypes.Snappy, packXerial],
  ['LZ4', CompressionTypes.LZ4, (content: Buffer) => compressFrameSync(content)],
  [
    'LZ4 with checksums',
    CompressionTypes.LZ4,
    (content: Buffer) => compressFrameSync(content, { contentChecksum: true, blockChecksums: true }),
  ],
  ['Zstandard', CompressionTypes.ZSTD, zstdCompressSync],
] as const;

type Codec = { decompress(packed: Buffer): Promise<Buffer> };
const codecs = CompressionCodecs as unknown as Readonly<Record<number, () => Codec>>;
const unpack = async (type: number, packed: Buffer): Promise<Buffer> =>
  (await codecs[type]?.().decompress(packed)) ?? Buffer.alloc(0);

test.each(packers)('%s: what was packed comes out', async (_, type, pack) => {
  for (const content of Object.values(contents))
    expect((await unpack(type, pack(content))).equals(content)).toBe(true);
  expect((await unpack(type, pack(most))).equals(most)).toBe(true);
});

test.each(packers)('%s: more than is allowed does not come out', async (_, type, pack) => {
  const packed = pack(Buffer.alloc(64 * sizeMax, 7));
  await expect(unpack(type, packed)).rejects.toThrow(/: more than 1048576 bytes would come out$/);
});

test.each(packers)(
  '%s: what is damaged is an error or as it was, and never a crash',
  async (_, type, pack) => {
    const packed = pack(contents.text);
    await expect(unpack(type, Buffer.from('this was never packed at all'))).rejects.toThrow();
    for (let at = 0; at < packed.length; at += 7) {
      const damaged = Buffer.from(packed);
      damaged[at] = (damaged[at] as number) ^ 0x5a;
      for (const bad of [damaged, packed.subarray(0, at)]) {
        const answer = await unpack(type, bad).catch((error: unknown) => error);
        expect(answer instanceof Error || (Buffer.isBuffer(answer) && answer.length <= sizeMax)).toBe(true);
      }
    }
  },
);
