// Unpacks what producers or brokers have compressed. kafkajs by itself knows gzip only, and no bound of what comes out.
import { gunzipSync, zstdDecompressSync } from 'node:zlib';
import kafkajs from 'kafkajs';
import { decompressFrameSync } from 'lz4-napi';
import { uncompressSync } from 'snappy';

const { CompressionCodecs, CompressionTypes } = kafkajs;

/** In front of what Java's library packs by Snappy: blocks of their own, each after its size. */
const xerialMagic = Buffer.from('\x82SNAPPY\0', 'latin1');
const xerialHeaderSize = 16;
/** What is in a frame of LZ4 beside its blocks: https://github.com/lz4/lz4/blob/dev/doc/lz4_Frame_format.md. */
const lz4 = {
  fixedSize: 7,
  contentSizeFlag: 0x08,
  dictionaryFlag: 0x01,
  blockChecksumFlag: 0x10,
  ratioMax: 255,
};

class TooLarge extends Error {}

type Unpack = (packed: Buffer, sizeMax: number) => Buffer;

/** Each throws when it cannot unpack, and before more than `sizeMax` bytes come out. */
const unpackers: Readonly<Record<Exclude<keyof typeof CompressionTypes, 'None'>, Unpack>> = {
  GZIP: (packed, sizeMax) => gunzipSync(packed, { maxOutputLength: sizeMax }),
  Snappy: (packed, sizeMax) => {
    const blocks = packed.subarray(0, xerialMagic.length).equals(xerialMagic)
      ? xerialBlocks(packed)
      : [packed];
    checkSize(
      blocks.reduce((size, block) => size + snappySize(block), 0),
      sizeMax,
    );
    return joined(blocks.map((block) => uncompressSync(block, { asBuffer: true }) as Buffer));
  },
  LZ4: (packed, sizeMax) => {
    checkSize(lz4SizeMax(packed), sizeMax);
    return decompressFrameSync(packed);
  },
  ZSTD: (packed, sizeMax) => zstdDecompressSync(packed, { maxOutputLength: sizeMax }),
};

/** Lets all consumers of this process unpack batches of records, each into at most `sizeMax` bytes. */
export function useCodecs(sizeMax: number): void {
  for (const [name, unpack] of Object.entries(unpackers)) {
    const decompress = (packed: Buffer): Promise<Buffer> => {
      try {
        return Promise.resolve(unpack(packed, sizeMax));
      } catch (error) {
        return Promise.reject(new Error(`${name}: ${explain(error, sizeMax)}`, { cause: error }));
      }
    };
    CompressionCodecs[CompressionTypes[name as keyof typeof unpackers]] = () => ({ decompress });
  }
}

function explain(error: unknown, sizeMax: number): string {
  const isTooLarge =
    error instanceof TooLarge || (error as NodeJS.ErrnoException).code === 'ERR_BUFFER_TOO_LARGE';
  return isTooLarge ? `more than ${sizeMax} bytes would come out` : (error as Error).message;
}

function checkSize(size: number, sizeMax: number): void {
  if (size > sizeMax) throw new TooLarge();
}

const joined = (parts: readonly Buffer[]): Buffer =>
  parts.length === 1 ? (parts[0] as Buffer) : Buffer.concat(parts);

function xerialBlocks(packed: Buffer): Buffer[] {
  const blocks: Buffer[] = [];
  for (let at = xerialHeaderSize; at < packed.length; ) {
    const end = at + 4 + packed.readUInt32BE(at);
    if (end > packed.length) throw new Error('a block ends beyond the batch');
    blocks.push(packed.subarray(at + 4, end));
    at = end;
  }
  return blocks;
}

/** What comes out of a block: a varint of at most 32 bits in front of it. */
function snappySize(block: Buffer): number {
  let size = 0;
  for (let index = 0; index < 5; index += 1) {
    const byte = block.readUInt8(index);
    size += (byte & 0x7f) * 2 ** (7 * index);
    if (byte < 0x80) return size;
  }
  throw new Error('the size of a block is no number');
}

/** No more than this comes out of a frame: each block is at most as large as the frame says, and 255 times what it is packed. */
function lz4SizeMax(frame: Buffer): number {
  const flags = frame.readUInt8(4);
  const blockSizeMax = 2 ** (8 + 2 * ((frame.readUInt8(5) >> 4) & 7));
  let at = lz4.fixedSize;
  if (flags & lz4.contentSizeFlag) at += 8;
  if (flags & lz4.dictionaryFlag) at += 4;
  let size = 0;
  while (true) {
    const header = frame.readUInt32LE(at);
    if (header === 0) return size;
    const packedSize = header & 0x7fff_ffff;
    const isPacked = header < 0x8000_0000;
    size += isPacked ? Math.min(blockSizeMax, packedSize * lz4.ratioMax) : packedSize;
    at += 4 + packedSize + (flags & lz4.blockChecksumFlag ? 4 : 0);
  }
}
