import { expect, test } from 'bun:test';
import { type Block, type CopyFacts, Engine, messageSizeMax, type Rejection } from '../src/index.ts';
import { drawBatch } from './batch-writer.ts';
import { drawForest, writeForest } from './forest-writer.ts';
import { encodeRows } from './plain-copy.ts';
import { createRandom, type Random } from './random.ts';

// Two messages: one row of station "a", two rows of station "é". Each value has a bit pattern of its own.
const block = {
  rowCount: 3,
  featureCount: 2,
  valueStride: 4, // Longer than the features: what lies between is no value.
  values: Float32Array.of(1.5, Number.NaN, 99, 99, -2, 0.1, 99, 99, 0, -0, 99, 99),
  times: Float64Array.of(Date.UTC(2000, 0), Date.UTC(2000, 0) + 1, Date.UTC(2026, 10, 23)),
  scores: Float64Array.of(-0.5, -1, -0.1),
  severities: Float64Array.of(3, Number.NaN, 0.5),
  isAnomaly: Uint8Array.of(1, 0, 0),
  memory: new TextEncoder().encode('aé'),
  stationStart: Uint32Array.of(0, 1, 1),
  stationLength: Uint32Array.of(1, 2, 2),
  messageRows: Uint32Array.of(1, 2),
} as unknown as Block;
const facts: CopyFacts = {
  topic: 't',
  partition: 6,
  modelId: 258,
  offsets: Float64Array.of(7, 2 ** 32 + 2),
};

// As the manual of PostgreSQL has it, by hand. A field is its length in four bytes, then its bytes; −1 is NULL.
const header = '5047434f50590aff0d0a00 00000000 00000000';
const array = (size: string, hasNull: string) => `${size} 00000001 ${hasNull} 000002bc 00000002 00000001`;
const expected = `${header}
  000b
  00000001 74
  00000004 00000006
  00000008 0000000000000007
  00000004 00000000
  00000008 0000000000000000
  00000001 61
  ${array('00000020', '00000001')} 00000004 3fc00000 ffffffff
  00000008 bfe0000000000000
  00000004 40400000
  00000001 01
  00000004 00000102

  000b
  00000001 74
  00000004 00000006
  00000008 0000000100000002
  00000004 00000000
  00000008 00000000000003e8
  00000002 c3a9
  ${array('00000024', '00000000')} 00000004 c0000000 00000004 3dcccccd
  00000008 bff0000000000000
  ffffffff
  00000001 00
  00000004 00000102

  000b
  00000001 74
  00000004 00000006
  00000008 0000000100000002
  00000004 00000001
  00000008 000303e50b2ca000
  00000002 c3a9
  ${array('00000024', '00000000')} 00000004 00000000 00000004 80000000
  00000008 bfb999999999999a
  00000004 3f000000
  00000001 00
  00000004 00000102

  ffff`;

test('the plain encoder writes what the manual of PostgreSQL says', () => {
  const bytes = Buffer.from(encodeRows(block, facts)).toString('hex');
  expect(bytes).toBe(expected.replaceAll(/\s/g, ''));
});

/** What the module makes of the block, in one piece. */
function joinPieces(scored: Block, given: CopyFacts): Buffer {
  const pieces = Array.from(scored.copyPieces(given), (piece) => Buffer.from(piece));
  for (const piece of pieces) expect(piece.length).toBeLessThanOrEqual(1 << 20);
  return Buffer.concat(pieces);
}

/** Messages as a fetch brings them: several in one piece of memory with something in between, some alone, some null. */
function drawMessages(random: Random, features: readonly string[], countMax: number): (Uint8Array | null)[] {
  const messages: (Uint8Array | null)[] = [];
  for (let piece = random.below(5); piece >= 0; piece -= 1) {
    const drawn = Array.from({ length: random.below(12) }, () => {
      if (random.chance(0.05)) return new Uint8Array();
      return random.chance(0.1)
        ? random.bytes(1 + random.below(40))
        : drawBatch(random, { features, countMax });
    });
    const gap = random.below(30);
    const memory = new Uint8Array(drawn.reduce((size, { length }) => size + length + gap, 7));
    let at = 7;
    for (const bytes of drawn) {
      memory.set(bytes, at);
      messages.push(memory.subarray(at, at + bytes.length));
      at += bytes.length + gap;
      if (random.chance(0.1)) messages.push(null);
    }
  }
  return messages;
}

const drawFacts = (random: Random, count: number): CopyFacts => {
  let offset = random.pick([0, 2 ** 32 - 3, 2 ** 52]) + random.below(5);
  return {
    topic: random.pick(['r', 'readings', 'topic-of-seventeen', 'x'.repeat(249)]),
    partition: random.below(2 ** 31),
    modelId: 1 + random.below(2 ** 31 - 1),
    offsets: Float64Array.from(
      { length: count },
      () => (offset += 1 + (random.chance(0.1) ? random.below(9) : 0)),
    ),
  };
};

for (const featureCount of [1, 2, 3, 17, 1024]) {
  test(`blocks of ${featureCount} features: the module's rows are the plain encoder's, many messages are as one by one`, async () => {
    let rowCount = 0;
    let refusedCount = 0;
    for (let seed = 1; seed <= (featureCount === 1024 ? 12 : 80); seed += 1) {
      const random = createRandom(seed * 7 + featureCount);
      const shape = { featureCount, treeCount: 3, depthMax: 5, hasGuards: random.chance(0.5) };
      const forest = drawForest(random, shape);
      const engine = await Engine.load(writeForest(forest));
      const messages = drawMessages(random, forest.features, random.pick([1, 20]));
      engine.begin();
      const { next, refused } = engine.appendAll(messages, 0);
      expect(next).toBe(messages.length);
      const scored = engine.score();
      const given = drawFacts(random, messages.length);
      expect(joinPieces(scored, given).equals(encodeRows(scored, given)), `seed ${seed}`).toBe(true);
      rowCount += scored.rowCount;
      refusedCount += refused.length;
      expect({ refused, ...facets(scored) }, `seed ${seed}`).toEqual(oneByOne(engine, messages));
    }
    expect(rowCount).toBeGreaterThan(200);
    expect(refusedCount).toBeGreaterThan(5);
  });
}

const facets = ({ rowCount, messageRows, scores, times, ignoredFeatureCount }: Block) => ({
  rowCount,
  messageRows: [...messageRows],
  scores: [...scores],
  times: [...times],
  ignoredFeatureCount,
});

function oneByOne(engine: Engine, messages: readonly (Uint8Array | null)[]) {
  engine.begin();
  const refused: { index: number; rejection: Rejection }[] = [];
  let ignoredFeatureCount = 0;
  const messageRows = messages.map((message, index) => {
    const appended = message === null ? null : engine.append(message);
    if (appended === null) return 0;
    if ('full' in appended) throw new Error('the block is full');
    if ('rejected' in appended) {
      refused.push({ index, rejection: appended.rejected });
      return 0;
    }
    ignoredFeatureCount += appended.ignoredFeatureCount;
    return appended.rowCount;
  });
  const scored = engine.score();
  return { refused, ...facets(scored), messageRows, ignoredFeatureCount };
}

test('a block that is full ends before the message that does not fit, and the next one begins there', async () => {
  const random = createRandom(5);
  const forest = drawForest(random, { featureCount: 3, treeCount: 2, depthMax: 3 });
  const engine = await Engine.load(writeForest(forest));
  const one = drawBatch(random, { features: forest.features, countMax: 1 });
  const messages = Array.from({ length: engine.rowCountMax + 3 }, () => one);
  engine.begin();
  expect(engine.appendAll(messages, 0)).toEqual({ next: engine.rowCountMax, refused: [] });
  const first = engine.score();
  const given = drawFacts(random, engine.rowCountMax);
  expect(joinPieces(first, given).equals(encodeRows(first, given))).toBe(true);
  engine.begin();
  expect(engine.appendAll(messages, engine.rowCountMax)).toEqual({ next: messages.length, refused: [] });
  expect(engine.score().messageRows).toEqual(Uint32Array.of(1, 1, 1));
});

test('a message may be a mere span, alone or among others in one buffer, with other bytes between them', async () => {
  const random = createRandom(7);
  const forest = drawForest(random, { featureCount: 2, treeCount: 3, depthMax: 3 });
  const engine = await Engine.load(writeForest(forest));
  const messages = Array.from({ length: 5 }, () =>
    drawBatch(random, { features: forest.features, countMax: 4 }),
  );
  const buffer = Buffer.alloc(
    messages.reduce((size, message) => size + message.length + 9, 0),
    0xff,
  ).buffer;
  let at = 0;
  const spans = messages.map((message) => {
    const span = { buffer, byteOffset: at + 9, length: message.length };
    new Uint8Array(buffer).set(message, span.byteOffset);
    at = span.byteOffset + message.length;
    return span;
  });
  engine.begin();
  expect(engine.appendAll(messages, 0)).toEqual({ next: 5, refused: [] });
  const asViews = facets(engine.score());
  engine.begin();
  expect(engine.appendAll(spans, 0)).toEqual({ next: 5, refused: [] });
  expect(facets(engine.score())).toEqual(asViews);
});

test('messages of no bytes or of too many are refused between others', async () => {
  const random = createRandom(6);
  const forest = drawForest(random, { featureCount: 1, treeCount: 1, depthMax: 1 });
  const engine = await Engine.load(writeForest(forest));
  const one = drawBatch(random, { features: forest.features, countMax: 1 });
  const messages = [one, new Uint8Array(messageSizeMax + 1), new Uint8Array(), one, null];
  engine.begin();
  const { next, refused } = engine.appendAll(messages, 0);
  expect([next, refused.map(({ index, rejection }) => [index, rejection.reason])]).toEqual([
    5,
    [
      [1, 'too-large'],
      [2, 'empty-message'],
    ],
  ]);
  expect(engine.score().messageRows).toEqual(Uint32Array.of(1, 0, 0, 1, 0));
});

test('rows are not encoded without an offset for each message, nor when they came without one', async () => {
  const random = createRandom(7);
  const forest = drawForest(random, { featureCount: 1, treeCount: 1, depthMax: 1 });
  const engine = await Engine.load(writeForest(forest));
  const one = drawBatch(random, { features: forest.features, countMax: 1 });
  engine.begin();
  engine.appendAll([one], 0);
  expect(() => [...engine.score().copyPieces({ ...facts, offsets: Float64Array.of(1, 2) })]).toThrow(
    '2 offsets',
  );
  engine.begin();
  engine.append(one);
  expect(() => [...engine.score().copyPieces({ ...facts, offsets: new Float64Array() })]).toThrow(
    'without a message',
  );
});
