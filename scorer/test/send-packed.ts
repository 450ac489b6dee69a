// Sends a batch that is compressed, which the scorer itself never does.
import { zstdCompressSync } from 'node:zlib';
import kafkajs, { type Message, type Producer } from 'kafkajs';
import { bounds } from '../src/bounds.ts';
import { useCodecs } from '../src/broker-kafka-codecs.ts';

const { CompressionCodecs, CompressionTypes } = kafkajs;

/** All of it in one batch, by Zstandard. */
export async function sendPacked(
  producer: Producer,
  topic: string,
  messages: readonly Message[],
): Promise<void> {
  useCodecs(bounds.unpackedSizeMax);
  const usual = CompressionCodecs[CompressionTypes.ZSTD];
  const compress = ({ buffer }: { readonly buffer: Buffer }) => Promise.resolve(zstdCompressSync(buffer));
  CompressionCodecs[CompressionTypes.ZSTD] = () => ({ ...usual(), compress });
  try {
    await producer.send({ topic, messages: [...messages], compression: CompressionTypes.ZSTD });
  } finally {
    CompressionCodecs[CompressionTypes.ZSTD] = usual;
  }
}
