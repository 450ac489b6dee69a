import { beforeAll, expect, test } from 'bun:test';
import { create, fromBinary, type MessageInitShape, toBinary } from '@bufbuild/protobuf';
import { SensorBatchSchema } from '@lonetree/proto';
import { type Appended, Engine, messageSizeMax } from '../src/index.ts';
import { drawBatch } from './batch-writer.ts';
import { drawForest, writeForest } from './forest-writer.ts';
import { type PlainAnswer, type PlainReading, readPlainBatch } from './plain-batch.ts';
import { createRandom } from './random.ts';

const features = ['temperature', 'größe', 'x'];
let engine: Engine;

beforeAll(async () => {
  const forest = drawForest(createRandom(1), { featureCount: 3, treeCount: 4, depthMax: 5 });
  engine = await Engine.load(writeForest({ ...forest, features }));
});

/** The readings of the block under way. */
function readingsOf(): PlainReading[] {
  const block = engine.score();
  const { rowCount, values, valueStride, times } = block;
  return Array.from({ length: rowCount }, (_, row) => ({
    station: block.station(row),
    timeMs: times[row] as number,
    values: [...values.subarray(row * valueStride, row * valueStride + features.length)],
  }));
}

function answer(message: Uint8Array): PlainAnswer {
  engine.begin();
  const appended = engine.append(message);
  if ('full' in appended) throw new Error('an empty block cannot be full');
  const readings = readingsOf();
  if ('rejected' in appended) {
    expect(readings).toEqual([]);
    expect(appended.rejected.detail).toMatch(/^The (message|batch|column|feature|name|model)|^Reading \d/);
    return { reason: appended.rejected.reason };
  }
  expect(appended.rowCount).toBe(readings.length);
  return { readings, ignoredFeatureCount: appended.ignoredFeatureCount };
}

/** What @bufbuild/protobuf makes of a well-formed message. */
function readWithLibrary(message: Uint8Array): PlainAnswer {
  const { stations, stationIndices, baseTimeMs, timeDeltasMs, columns } = fromBinary(
    SensorBatchSchema,
    message,
  );
  let timeMs = baseTimeMs;
  const readings = timeDeltasMs.map((delta, row) => {
    timeMs += delta;
    const values = features.map(
      (name) => columns.find((column) => column.name === name)?.values[row] as number,
    );
    return {
      station: stations[stationIndices[row] ?? 0] as string,
      timeMs: Number(timeMs),
      values: values.map((value) => (Math.abs(value) < 3.4e38 ? value : Number.NaN)),
    };
  });
  return { readings, ignoredFeatureCount: columns.length - features.length };
}

test('every well-formed message gives the readings that @bufbuild/protobuf gives, however it is written', () => {
  for (let seed = 1; seed <= 2000; seed += 1) {
    const message = drawBatch(createRandom(seed), { features, countMax: seed % 50 === 0 ? 300 : 12 });
    const expected = readWithLibrary(message);
    expect({ seed, answer: answer(message) }).toEqual({ seed, answer: expected });
    expect({ seed, answer: readPlainBatch(message, features) }).toEqual({ seed, answer: expected });
  }
});

test('a message cut at any byte is refused or is the shorter message that it then is', () => {
  for (let seed = 1; seed <= 60; seed += 1) {
    const message = drawBatch(createRandom(seed), { features, countMax: 6 });
    for (let size = 0; size < message.length; size += 1) {
      const cut = message.slice(0, size);
      expect({ seed, size, answer: answer(cut) }).toEqual({
        seed,
        size,
        answer: readPlainBatch(cut, features),
      });
    }
  }
});

test('bits flipped, bytes overwritten, inserted or removed anywhere give what the specification says', () => {
  let refusedCount = 0;
  for (let seed = 1; seed <= 20_000; seed += 1) {
    const random = createRandom(seed);
    const bytes = [...drawBatch(random, { features, countMax: 4 })];
    for (let change = random.below(3); change >= 0; change -= 1) {
      const at = random.below(bytes.length);
      const kind = random.below(4);
      if (kind === 0) bytes[at] = (bytes[at] as number) ^ (1 << random.below(8));
      else if (kind === 1) bytes[at] = random.below(256);
      else if (kind === 2) bytes.splice(at, 0, random.below(256));
      else bytes.splice(at, 1);
    }
    const message = Uint8Array.from(bytes);
    const expected = readPlainBatch(message, features);
    if ('reason' in expected) refusedCount += 1;
    expect({ seed, answer: answer(message) }).toEqual({ seed, answer: expected });
  }
  expect(refusedCount).toBeGreaterThan(5000);
}, 120_000);

test('random bytes of any length give what the specification says', () => {
  for (let seed = 1; seed <= 10_000; seed += 1) {
    const random = createRandom(seed);
    const message = random.bytes(random.below(seed % 100 === 0 ? 5000 : 60));
    expect({ seed, answer: answer(message) }).toEqual({ seed, answer: readPlainBatch(message, features) });
  }
});

type Batch = MessageInitShape<typeof SensorBatchSchema>;
const good = {
  stations: ['s1', 's2'],
  stationIndices: [0, 1],
  baseTimeMs: 1_760_000_000_000n,
  timeDeltasMs: [0n, 1000n],
  columns: features.map((name) => ({ name, unit: '', values: [1, 2] })),
} satisfies Batch;
const encode = (batch: Batch) => toBinary(SensorBatchSchema, create(SensorBatchSchema, batch));
const append = (batch: Batch): Appended => {
  engine.begin();
  return engine.append(encode(batch));
};
const columnsWith = (index: number, column: object) =>
  good.columns.map((other, at) => (at === index ? { ...other, ...column } : other));

const refusals: [reason: string, detail: RegExp, batch: Batch][] = [
  ['no-readings', /time_deltas_ms is empty/, { ...good, timeDeltasMs: [], stationIndices: [], columns: [] }],
  ['no-readings', /time_deltas_ms/, { stations: ['s1'] }],
  ['missing-feature', /"temperature"/, { ...good, columns: [] }],
  ['missing-feature', /"größe".*NaN/, { ...good, columns: columnsWith(1, { name: 'grösse' }) }],
  ['missing-feature', /"x"/, { ...good, columns: columnsWith(2, { name: '' }) }],
  ['duplicate-feature', /"x"/, { ...good, columns: columnsWith(0, { name: 'x' }) }],
  [
    'column-length',
    /"größe" has 1 values.*2 readings/,
    { ...good, columns: columnsWith(1, { values: [1] }) },
  ],
  [
    'column-length',
    /"other" has 3 values/,
    { ...good, columns: columnsWith(1, { name: 'other', values: [1, 2, 3] }) },
  ],
  ['column-length', /"x" has 0 values/, { ...good, columns: columnsWith(2, { values: [] }) }],
  ['no-station', /names no station/, { ...good, stations: [] }],
  ['no-station', /empty name for station 1/, { ...good, stations: ['s1', ''] }],
  ['station-name', /station 0 has 256 bytes/, { ...good, stations: ['s'.repeat(256), 's2'] }],
  ['station-name', /station 1 has a NUL/, { ...good, stations: ['s1', 's\0'] }],
  ['station-index', /1 station indices for 2 readings/, { ...good, stationIndices: [0] }],
  ['station-index', /0 station indices for 2 readings/, { ...good, stationIndices: [] }],
  ['station-index', /Reading 1 has the station index 2/, { ...good, stationIndices: [0, 2] }],
  [
    'station-index',
    /Reading 0 has the station index 4294967295/,
    { ...good, stationIndices: [4294967295, 0] },
  ],
  ['time-out-of-range', /Reading 0 has the time 946684799999 ms/, { ...good, baseTimeMs: 946_684_799_999n }],
  [
    'time-out-of-range',
    /Reading 1 has the time 4133980800000 ms/,
    { ...good, baseTimeMs: 4_133_980_799_000n },
  ],
  ['time-out-of-range', /Reading 1/, { ...good, timeDeltasMs: [0n, -(2n ** 63n)] }],
  [
    'time-out-of-range',
    /Reading 0/,
    { ...good, baseTimeMs: 2n ** 63n - 1n, timeDeltasMs: [2n ** 63n - 1n, 1n] },
  ],
  [
    'too-large',
    /more than 4,096 columns/,
    { ...good, columns: Array.from({ length: 4097 }, () => ({ name: 'y' })) },
  ],
  ['too-large', /more than 131,072 stations/, { ...good, stations: Array<string>(131_073).fill('s') }],
  ['too-large', /more readings than fit/, { ...good, timeDeltasMs: Array<bigint>(131_073).fill(0n) }],
  ['too-large', /more readings than fit/, { ...good, stationIndices: Array<number>(131_073).fill(0) }],
];

for (const [index, [reason, detail, batch]] of refusals.entries()) {
  test(`refuses with ${reason}: case ${index + 1}`, () => {
    expect(append(batch)).toMatchObject({ rejected: { reason, detail: expect.stringMatching(detail) } });
    expect(engine.score().rowCount).toBe(0);
    expect(append(good)).toEqual({ rowCount: 2, ignoredFeatureCount: 0 });
  });
}

test('takes the first and the last instant of the years 2000 to 2099', () => {
  for (const baseTimeMs of [946_684_800_000n, 4_133_980_798_999n]) {
    expect(append({ ...good, baseTimeMs })).toEqual({ rowCount: 2, ignoredFeatureCount: 0 });
    expect(engine.score().times[0]).toBe(Number(baseTimeMs));
  }
});

test('refuses an empty message, and one of more than 16 MiB without a look at it', () => {
  engine.begin();
  expect(engine.append(new Uint8Array())).toMatchObject({ rejected: { reason: 'empty-message' } });
  const detail = expect.stringContaining('16777217 bytes');
  expect(engine.append(new Uint8Array(messageSizeMax + 1))).toMatchObject({
    rejected: { reason: 'too-large', detail },
  });
});

test('a refused message leaves the readings before it as they are', () => {
  engine.begin();
  engine.append(encode(good));
  const before = readingsOf();
  for (const [, , batch] of refusals) expect(engine.append(encode(batch))).toHaveProperty('rejected');
  engine.append(encode(good));
  expect(readingsOf()).toEqual([...before, ...before]);
});

test('a block can be scored and then go on, missing values included', () => {
  const gappy = encode({
    ...good,
    columns: columnsWith(1, { values: [Number.NaN, Number.POSITIVE_INFINITY] }),
  });
  engine.begin();
  engine.append(gappy);
  const sums = [...engine.score().sums];
  engine.append(gappy);
  expect([...engine.score().sums]).toEqual([...sums, ...sums]);
});

test('a block takes what fits, then answers full, and the next block goes on', () => {
  const count = 50_000;
  const large = encode({
    stations: ['s1'],
    baseTimeMs: good.baseTimeMs,
    timeDeltasMs: Array<bigint>(count).fill(1n),
    columns: features.map((name) => ({ name, values: Array<number>(count).fill(1) })),
  });
  for (let block = 0; block < 3; block += 1) {
    engine.begin();
    expect(engine.append(large)).toEqual({ rowCount: count, ignoredFeatureCount: 0 });
    expect(engine.append(large)).toEqual({ rowCount: count, ignoredFeatureCount: 0 });
    expect(engine.append(large)).toEqual({ full: true });
    expect(engine.append(encode(good))).toEqual({ rowCount: 2, ignoredFeatureCount: 0 });
    const scored = engine.score();
    expect([scored.rowCount, scored.station(0), scored.station(2 * count + 1)]).toEqual([
      2 * count + 2,
      's1',
      's2',
    ]);
  }
});

test('station names of many and of very long messages stay within bounds: the block answers full', () => {
  const stations = Array.from({ length: 60_000 }, (_, index) => `${index}`.padStart(250, 's'));
  const wide = encode({ ...good, stations });
  for (let block = 0; block < 2; block += 1) {
    engine.begin();
    expect(engine.append(wide)).toHaveProperty('rowCount', 2);
    expect(engine.append(wide)).toHaveProperty('rowCount', 2);
    expect(engine.append(wide)).toEqual({ full: true });
    const scored = engine.score();
    expect([scored.rowCount, scored.station(3)]).toEqual([4, stations[1] as string]);
  }
});

test('a block shows the UTF-8 bytes of every station', () => {
  append({ ...good, stations: ['Süd', '站'] });
  const { memory, stationStart, stationLength } = engine.score();
  const bytes = (row: number) => {
    const start = stationStart[row] as number;
    return Buffer.from(memory.subarray(start, start + (stationLength[row] as number))).toString();
  };
  expect([bytes(0), bytes(1)]).toEqual(['Süd', '站']);
});
