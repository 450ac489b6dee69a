// Proves a whole simulation in-process: readings, labels, summary, ends.
import { describe, expect, test } from 'bun:test';
import { fromBinary } from '@bufbuild/protobuf';
import { SensorBatchSchema } from '@lonetree/proto';
import type { SimulatedMessage } from './batch.ts';
import type { FaultLabel } from './faults.ts';
import { defaultDemo, runSimulator } from './index.ts';
import type { Clock } from './pace.ts';

function fakeClock(): Clock {
  let nowMs = 0;
  return {
    nowMs: () => nowMs,
    sleep: async (durationMs) => {
      nowMs += durationMs;
    },
  };
}

async function runDemo(options: Partial<Parameters<typeof runSimulator>[0]>) {
  const messages: SimulatedMessage[] = [];
  const labels: FaultLabel[] = [];
  const summary = await runSimulator({
    ...defaultDemo,
    startMs: Date.UTC(2026, 0, 1),
    clock: fakeClock(),
    signal: new AbortController().signal,
    publish: async (group) => {
      messages.push(...group);
    },
    onLabels: (begun) => labels.push(...begun),
    ...options,
  });
  return { messages, labels, summary };
}

describe('run', () => {
  test('speed and batch size change when readings leave, never what they are', async () => {
    const readings = async (options: Partial<Parameters<typeof runSimulator>[0]>) => {
      const { messages } = await runDemo({ readingCountMax: 600, intervalMs: 1_000, ...options });
      return messages
        .flatMap(({ value }) => {
          const { stations, stationIndices, columns } = fromBinary(SensorBatchSchema, value);
          return (columns[0]?.values ?? []).map((_, row) =>
            [stations[stationIndices[row] ?? 0], ...columns.map(({ values }) => values[row])].join(' '),
          );
        })
        .toSorted();
    };
    const expected = await readings({});
    expect(expected.length).toBe(600);
    expect(await readings({ readingsPerSecond: null })).toEqual(expected);
    expect(await readings({ readingsPerSecond: 5_000, batchSize: 32 })).toEqual(expected);
    expect(await readings({ batchSize: 100, gatewayCount: 2 })).toEqual(expected);
  });

  test('the demo breaks something within its first 6 seconds, visibly, whatever the seed', async () => {
    for (let seed = 0; seed < 50; seed++) {
      const { labels } = await runDemo({ seed, readingCountMax: 12 * 10 });
      expect(labels[0]?.kind).toBe('spike');
      expect((labels[0]?.startMs ?? Number.POSITIVE_INFINITY) - Date.UTC(2026, 0, 1)).toBeLessThan(6_500);
    }
  });

  test('the summary counts what was sent and which faults began', async () => {
    const { messages, labels, summary } = await runDemo({ readingCountMax: 12 * 120 });
    expect(summary.messageCount).toBe(messages.length);
    expect(summary.readingCount).toBe(12 * 120);
    expect(Object.values(summary.faultCounts ?? {}).reduce((sum, count) => sum + count, 0)).toBe(
      labels.length,
    );
    expect(summary.faultCounts).toMatchObject({ spike: 3, dropout: 2, stuck: 2 });
    expect(summary.latenessMaxMs).toBeLessThan(1e-6);
  });

  test('no message carries a label', async () => {
    const { messages, labels } = await runDemo({ readingCountMax: 12 * 60 });
    expect(labels.length).toBeGreaterThan(5);
    const text = Buffer.concat(messages.map(({ value }) => value)).toString('latin1');
    for (const { kind } of labels) expect(text).not.toContain(kind);
    expect(new Set(messages.flatMap(({ headers }) => Object.keys(headers)))).toEqual(
      new Set(['content-type', 'sequence']),
    );
  });

  test('an abort ends a run that has no other end', async () => {
    const stop = new AbortController();
    let count = 0;
    const publish = async (group: readonly SimulatedMessage[]): Promise<void> => {
      count += group.length;
      if (count >= 100) stop.abort();
    };
    const { summary } = await runDemo({ publish, signal: stop.signal });
    expect(summary.messageCount).toBe(count);
  });

  test('refuses a rate of nothing', async () => {
    await expect(runDemo({ readingsPerSecond: 0 })).rejects.toThrow('readingsPerSecond is 0');
  });
});
