// Proves that the shipped model suits what `bun run start` simulates: few false alarms, and faults seen soon.
import { describe, expect, test } from 'bun:test';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { Engine } from '@lonetree/core-wasm';
import { createBatcher, createFleet, defaultDemo, type FaultLabel, FEATURES } from '../src/index.ts';

const START_MS = Date.UTC(2026, 0, 1);
const INTERVAL_MS = (1_000 * defaultDemo.stationCount) / defaultDemo.readingsPerSecond;
const engine = await Engine.load(
  new Uint8Array(await readFile(join(import.meta.dir, '../../models/default.forest'))),
);

type Found = { readonly station: string; readonly timeMs: number; readonly reasons: readonly string[] };

/** The demo's readings and what the model says of them. */
function judge(seed: number, readingCount: number, faults: typeof defaultDemo.faults | null) {
  const options = { ...defaultDemo, seed, faults, intervalMs: INTERVAL_MS, startMs: START_MS };
  const fleet = createFleet(options);
  const { stations } = fleet;
  const batcher = createBatcher({
    stations,
    features: FEATURES,
    batchSize: 1_000,
    gatewayCount: 1,
    isStaggered: false,
  });
  const anomalies: Found[] = [];
  const labels: FaultLabel[] = [];
  const score = (value: Uint8Array): void => {
    engine.begin();
    expect(engine.append(value)).toHaveProperty('rowCount');
    const block = engine.score();
    for (const [index, row] of block.anomalyRows.entries()) {
      const timeMs = block.times[row] as number;
      anomalies.push({ station: block.station(row), timeMs, reasons: block.reasonsOf(index) });
    }
  };
  for (let index = 0; index < readingCount; index++) {
    const message = batcher.add(fleet.next(), 0);
    labels.push(...fleet.takeLabels());
    if (message !== null) score(message.value);
  }
  for (const { value } of batcher.finish()) score(value);
  return { anomalies, labels };
}

describe('the shipped model on the demo', () => {
  test('knows the features by name', () => {
    expect([...engine.model.features]).toEqual(FEATURES.map(({ name }) => name));
    expect(engine.model.alarmRate).toBe(0.001);
  });

  test('healthy stations alarm at 0.8 to 1.2 times the nominal rate', () => {
    const readingCount = 1_000_000;
    const { anomalies } = judge(1, readingCount, null);
    expect(anomalies.length / readingCount).toBeGreaterThan(0.8e-3);
    expect(anomalies.length / readingCount).toBeLessThan(1.2e-3);
  });

  test('the first fault is seen within 10 seconds, whatever the seed', () => {
    for (let seed = 0; seed < 50; seed++) {
      const { anomalies, labels } = judge(seed, 10 * defaultDemo.readingsPerSecond, defaultDemo.faults);
      const { station, startMs, endMs, feature } = labels[0] as FaultLabel;
      const seen = anomalies.filter(
        (each) => each.station === station && each.timeMs >= startMs && each.timeMs <= endMs,
      );
      expect(seen.length).toBeGreaterThan(0);
      expect(seen[0]?.reasons.some((reason) => reason.endsWith(`:${feature}`))).toBe(true);
    }
  });

  test('nearly every fault is seen, but a stuck sensor, for which the model has no guard', () => {
    const { anomalies, labels } = judge(3, 3_600 * defaultDemo.readingsPerSecond, defaultDemo.faults);
    for (const kind of ['spike', 'dropout', 'level-shift', 'noise-burst', 'slow-drift'] as const) {
      const own = labels.filter((label) => label.kind === kind);
      const seen = own.filter(({ station, startMs, endMs }) =>
        anomalies.some((each) => each.station === station && each.timeMs >= startMs && each.timeMs <= endMs),
      );
      expect(seen.length / own.length).toBeGreaterThan(0.97);
    }
  });
});
