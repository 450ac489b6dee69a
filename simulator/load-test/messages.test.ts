import { expect, test } from 'bun:test';
import { fromBinary } from '@bufbuild/protobuf';
import { SensorBatchSchema } from '@lonetree/proto';
import { encodeMessages, timeSpanMs } from './messages.ts';

test.each([
  [1, 6],
  [64, 7],
  [1_000, 300],
])(
  'messages of %d readings for %d partitions are full, and within the time they claim',
  (batchSize, partitionCount) => {
    const firstTimeMs = Date.UTC(2026, 0, 1);
    const messages = encodeMessages({ batchSize, partitionCount, seed: 3, firstTimeMs });
    const lastTimeMs = firstTimeMs + timeSpanMs({ batchSize, partitionCount });
    expect(messages.length % partitionCount).toBe(0);
    expect(messages.length * batchSize).toBeGreaterThanOrEqual(100_000);
    for (const { value } of messages) {
      const { baseTimeMs, timeDeltasMs, columns } = fromBinary(SensorBatchSchema, value);
      const last = baseTimeMs + timeDeltasMs.reduce((sum, delta) => sum + delta, 0n);
      expect(timeDeltasMs.length || columns[0]?.values.length).toBe(batchSize);
      expect(Number(baseTimeMs)).toBeGreaterThanOrEqual(firstTimeMs);
      expect(Number(last)).toBeLessThanOrEqual(lastTimeMs);
    }
  },
);
