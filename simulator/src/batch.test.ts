// Proves that messages hold the readings they were given, whatever their size.
import { describe, expect, test } from 'bun:test';
import { fromBinary } from '@bufbuild/protobuf';
import { SensorBatchSchema } from '@lonetree/proto';
import { createBatcher, type SimulatedMessage } from './batch.ts';
import { FEATURES } from './distribution.ts';
import { createFleet } from './fleet.ts';

const READING_COUNT = 1_000;

function fleet() {
  const faults = { everyMs: 2_000 };
  return createFleet({
    stationCount: 7,
    seed: 3,
    mode: 'correlated',
    intervalMs: 500,
    startMs: 1_770_000_000_123,
    faults,
  });
}

function messages(batchSize: number, gatewayCount: number, isStaggered = false): SimulatedMessage[] {
  const source = fleet();
  const batcher = createBatcher({
    stations: source.stations,
    features: FEATURES,
    batchSize,
    gatewayCount,
    isStaggered,
  });
  const list: SimulatedMessage[] = [];
  for (let index = 0; index < READING_COUNT; index++) {
    const message = batcher.add(source.next(), index);
    if (message !== null) list.push(message);
  }
  return [...list, ...batcher.finish()];
}

/** One line per reading, sorted, as text so that NaN equals NaN. */
function decode(list: readonly SimulatedMessage[]): string[] {
  const lines: string[] = [];
  for (const { value, readingCount } of list) {
    const batch = fromBinary(SensorBatchSchema, value);
    expect(batch.timeDeltasMs.length).toBe(readingCount);
    let timeMs = batch.baseTimeMs;
    for (const [row, delta] of batch.timeDeltasMs.entries()) {
      timeMs += delta;
      const values = batch.columns.map((column) => column.values[row]);
      lines.push(`${timeMs} ${batch.stations[batch.stationIndices[row] ?? 0]} ${values.join(' ')}`);
    }
  }
  return lines.toSorted();
}

describe('batch', () => {
  const source = fleet();
  const expected = Array.from({ length: READING_COUNT }, () => {
    const { stationIndex, timeMs, values } = source.next();
    return `${timeMs} ${source.stations[stationIndex]} ${values.join(' ')}`;
  }).toSorted();

  test.each([
    [1, 0, false],
    [1, 3, true],
    [10, 0, true],
    [64, 2, false],
    [1_000, 0, false],
    [5_000, 1, false],
  ])(
    'batches of %p readings, %p gateways, staggered %p: the same readings',
    (batchSize, gatewayCount, isStaggered) => {
      expect(decode(messages(batchSize, gatewayCount, isStaggered))).toEqual(expected);
    },
  );

  test('names and units stand in every message', () => {
    const batch = fromBinary(SensorBatchSchema, messages(10, 0)[0]?.value as Uint8Array);
    expect(batch.columns.map(({ name, unit }) => [name, unit])).toEqual([
      ['temperature', 'Cel'],
      ['humidity', '%'],
      ['sound', 'dB'],
    ]);
  });

  test('a station is the key of its own messages, a gateway of its stations’', () => {
    expect(messages(10, 0)[0]?.key).toBe('station-001');
    const [first] = messages(10, 2);
    expect(first?.key).toBe('gateway-1');
    const stations = fromBinary(SensorBatchSchema, first?.value as Uint8Array).stations;
    expect(stations).toEqual(['station-001', 'station-003', 'station-005', 'station-007']);
  });

  test('sequences count from 0 without a gap, in headers too', () => {
    const list = messages(10, 0);
    expect(list.map(({ sequence }) => sequence)).toEqual(list.map((_, index) => index));
    expect(list.map(({ headers }) => headers.sequence)).toEqual(list.map((_, index) => String(index)));
  });

  test('a message is due with its last reading', () => {
    expect(
      messages(10, 1)
        .map(({ dueMs }) => dueMs)
        .slice(0, 3),
    ).toEqual([9, 19, 29]);
  });

  test('staggered senders fill their messages one after the other', () => {
    const dues = messages(100, 0, true).map(({ dueMs }) => dueMs);
    const gaps = dues.slice(1, -7).map((dueMs, index) => dueMs - (dues[index] as number));
    expect(Math.max(...gaps)).toBeLessThan(120);
    expect(Math.min(...gaps)).toBeGreaterThan(80);
  });

  test.each([
    [0, 0],
    [1.5, 0],
    [100_001, 0],
    [1, -1],
  ])('refuses batch size %p with %p gateways', (batchSize, gatewayCount) => {
    expect(() => messages(batchSize, gatewayCount)).toThrow('give a whole number');
  });
});
