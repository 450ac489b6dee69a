// A scored block's rows in PostgreSQL's binary COPY format, as the module makes them: see assembly/copy.ts.

/** The columns of a row, in the module's order. */
export const copyColumns = [
  'topic',
  'partition',
  'offset',
  'row',
  'time',
  'station',
  'values',
  'score',
  'severity',
  'is_anomaly',
  'model_id',
] as const;

/** What rows say beside what the block holds. */
export type CopyFacts = {
  readonly topic: string;
  readonly partition: number;
  readonly modelId: number;
  /** For each message of the block. */
  readonly offsets: Float64Array;
};

export type CopyKernel = {
  readonly memory: WebAssembly.Memory;
  startCopy(topicSize: number, partition: number, modelId: number): number;
  nextCopyPiece(): number;
} & {
  readonly [name in 'messageCount' | 'messageOffsets' | 'copyTopic' | 'copyPiece']: WebAssembly.Global;
};

/** Names of Kafka topics have at most so many bytes. */
const topicSizeMax = 249;

/** The stream of all rows, piece by piece: each is a view that is valid until the next one is made. */
export function* copyPieces(kernel: CopyKernel, facts: CopyFacts): Generator<Uint8Array, void> {
  const { buffer } = kernel.memory;
  const count: number = kernel.messageCount.value;
  if (facts.offsets.length !== count)
    throw new RangeError(`${facts.offsets.length} offsets were given for the block's ${count} messages`);
  new Float64Array(buffer, kernel.messageOffsets.value >>> 0, count).set(facts.offsets);
  const name = new TextEncoder().encode(facts.topic);
  new Uint8Array(buffer, kernel.copyTopic.value >>> 0, topicSizeMax).set(name);
  if (kernel.startCopy(name.length, facts.partition, facts.modelId) === 0)
    throw new Error('assertion failed: the block has readings that came without a message');
  const piece = kernel.copyPiece.value >>> 0;
  for (let size = kernel.nextCopyPiece(); size > 0; size = kernel.nextCopyPiece())
    yield new Uint8Array(buffer, piece, size);
}
