// Proves that a label says exactly which readings a fault changed, and that each kind does what its name
// says.
import { describe, expect, test } from 'bun:test';
import { FEATURES } from './distribution.ts';
import { FAULT_KINDS, type FaultKind, type FaultLabel, type FaultPlan } from './faults.ts';
import { createFleet, type FleetOptions } from './fleet.ts';

const BASE: FleetOptions = {
  stationCount: 12,
  seed: 5,
  mode: 'correlated',
  intervalMs: 1_000,
  startMs: Date.UTC(2026, 0, 1),
  faults: null,
};

type Change = { timeMs: number; before: number; after: number };

/** Runs the same fleet with and without faults; changes by station and feature, and the labels. */
function compare(
  faults: FaultPlan,
  readingCount: number,
): { changes: Map<string, Change[]>; labels: FaultLabel[] } {
  const healthy = createFleet(BASE);
  const faulty = createFleet({ ...BASE, faults });
  const changes = new Map<string, Change[]>();
  const labels: FaultLabel[] = [];
  for (let index = 0; index < readingCount * BASE.stationCount; index++) {
    const clean = healthy.next();
    const reading = faulty.next();
    labels.push(...faulty.takeLabels());
    for (const [feature, { name }] of FEATURES.entries()) {
      const before = clean.values[feature] as number;
      const after = reading.values[feature] as number;
      if (Object.is(before, after)) continue;
      const place = `${healthy.stations[clean.stationIndex]} ${name}`;
      changes.set(place, [...(changes.get(place) ?? []), { timeMs: reading.timeMs, before, after }]);
    }
  }
  return { changes, labels };
}

/** The changes of every fault of a kind that was over before the run was. */
function changesOf(kind: FaultKind): { label: FaultLabel; changes: Change[] }[] {
  const readingCount = 3_000;
  const { changes, labels } = compare({ everyMs: 20_000, kinds: [kind] }, readingCount);
  return labels
    .filter(({ endMs }) => endMs < BASE.startMs + readingCount * BASE.intervalMs)
    .map((label) => ({
      label,
      changes: (changes.get(`${label.station} ${label.feature}`) ?? []).filter(
        ({ timeMs }) => timeMs >= label.startMs && timeMs <= label.endMs,
      ),
    }));
}

describe('faults', () => {
  test.each([{ everyMs: 3_000 }, { perStationHour: 60 }])(
    'labels of plan %p cover exactly the changed readings',
    (plan) => {
      const { changes, labels } = compare(plan, 4_000);
      expect(new Set(labels.map(({ kind }) => kind))).toEqual(new Set(FAULT_KINDS));
      const runEndMs = BASE.startMs + 4_000 * BASE.intervalMs;
      let labelled = 0;
      for (const { station, feature, startMs, endMs, readingCount } of labels) {
        const inside = (changes.get(`${station} ${feature}`) ?? []).filter(
          ({ timeMs }) => timeMs >= startMs && timeMs <= endMs,
        );
        if (endMs < runEndMs) expect(inside.length).toBe(readingCount);
        labelled += inside.length;
      }
      expect([...changes.values()].flat().length).toBe(labelled);
    },
  );

  test.each(['spike', 'level-shift'] as const)('%s moves every value by its magnitude', (kind) => {
    for (const { label, changes } of changesOf(kind)) {
      for (const { before, after } of changes) expect(after - before).toBeCloseTo(label.magnitude, 3);
    }
  });

  test('slow-drift moves away evenly, up to its magnitude', () => {
    for (const { label, changes } of changesOf('slow-drift')) {
      for (const [index, { before, after }] of changes.entries()) {
        expect(after - before).toBeCloseTo((label.magnitude * (index + 1)) / label.readingCount, 3);
      }
    }
  });

  test('stuck repeats the last value before it', () => {
    for (const { changes } of changesOf('stuck'))
      expect(new Set(changes.map(({ after }) => after)).size).toBe(1);
  });

  test('dropout is no value at all', () => {
    for (const { changes } of changesOf('dropout'))
      expect(changes.every(({ after }) => Number.isNaN(after))).toBe(true);
  });

  test('noise-burst scatters to both sides, within its magnitude', () => {
    const all = changesOf('noise-burst').flatMap(({ label, changes }) =>
      changes.map(({ before, after }) => (after - before) / Math.abs(label.magnitude)),
    );
    expect(Math.max(...all.map(Math.abs))).toBeLessThanOrEqual(1.001);
    expect(Math.min(...all)).toBeLessThan(-0.9);
    expect(Math.max(...all)).toBeGreaterThan(0.9);
  });

  test.each([...FAULT_KINDS])(
    '%s occurs when it is asked for, and has as many changes as its label says',
    (kind) => {
      const found = changesOf(kind);
      expect(found.length).toBeGreaterThan(100);
      for (const { label, changes } of found) {
        expect(label.kind).toBe(kind);
        expect(changes.length).toBe(label.readingCount);
      }
    },
  );

  test('one fault every so often comes within the first interval, and never drifts', () => {
    const { labels } = compare({ everyMs: 9_000 }, 2_000);
    for (const [index, { startMs }] of labels.entries()) {
      const elapsedMs = startMs - BASE.startMs;
      expect(elapsedMs).toBeGreaterThan(index * 9_000);
      expect(elapsedMs).toBeLessThan((index + 1) * 9_000);
    }
    expect(labels.slice(0, 6).map(({ kind }) => kind)).toEqual([...FAULT_KINDS]);
  });

  test('a rate gives that many faults per station and hour', () => {
    const { labels } = compare({ perStationHour: 10, kinds: ['spike'] }, 7_200);
    // Poisson with mean 240: outside ±4 standard deviations once in 15,000 seeds.
    expect(Math.abs(labels.length - 240)).toBeLessThan(62);
  });

  test('a fleet where every station is faulty takes no further fault', () => {
    const { labels } = compare({ everyMs: 100, kinds: ['stuck'] }, 50);
    const busy = labels.filter(({ startMs }) => startMs <= BASE.startMs + 10_000);
    expect(busy.length).toBeLessThanOrEqual(2 * BASE.stationCount);
  });
});
