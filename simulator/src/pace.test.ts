// Proves open-loop pacing on a clock whose hands the test turns.
import { describe, expect, test } from 'bun:test';
import type { SimulatedMessage } from './batch.ts';
import { type Clock, type Publish, pace } from './pace.ts';

function fakeClock(): Clock & { advance(durationMs: number): void } {
  let nowMs = 1_000_000;
  return {
    nowMs: () => nowMs,
    sleep: async (durationMs) => {
      nowMs += durationMs;
    },
    advance: (durationMs) => {
      nowMs += durationMs;
    },
  };
}

function everyTenMs(count: number): SimulatedMessage[] {
  return Array.from({ length: count }, (_, sequence) => ({
    key: 'station-001',
    value: new Uint8Array(),
    headers: {},
    sequence,
    readingCount: 5,
    dueMs: sequence * 10,
  }));
}

async function run(messages: SimulatedMessage[], delayOf: (sequence: number) => number, isPaced = true) {
  const clock = fakeClock();
  const startMs = clock.nowMs();
  const sent = new Map<number, number>();
  const stop = new AbortController();
  const publish: Publish = async (group) => {
    for (const { sequence } of group) sent.set(sequence, clock.nowMs() - startMs);
    for (const { sequence } of group) clock.advance(delayOf(sequence));
  };
  const paced = await pace(messages, { publish, clock, signal: stop.signal, isPaced });
  return { paced, sent };
}

describe('pace', () => {
  test('messages leave at their times, without drift', async () => {
    const { paced, sent } = await run(everyTenMs(1_000), () => 0);
    for (const [sequence, timeMs] of sent) expect(timeMs).toBe(sequence * 10);
    expect(paced).toEqual({ messageCount: 1_000, readingCount: 5_000, latenessMaxMs: 0, latenessMeanMs: 0 });
  });

  test('a receiver that stalls makes messages late, is told so, and the schedule stays', async () => {
    const { paced, sent } = await run(everyTenMs(100), (sequence) => (sequence === 20 ? 95 : 0));
    // Due at 210 … 290 while the receiver held number 20 from 200 to 295.
    for (let sequence = 21; sequence <= 29; sequence++) expect(sent.get(sequence)).toBe(295);
    for (let sequence = 30; sequence < 100; sequence++) expect(sent.get(sequence)).toBe(sequence * 10);
    expect(paced.latenessMaxMs).toBe(85);
    expect(paced.latenessMeanMs).toBeCloseTo((85 + 75 + 65 + 55 + 45 + 35 + 25 + 15 + 5) / 100, 10);
  });

  test('unpaced, nothing waits and nothing is late', async () => {
    const { paced, sent } = await run(everyTenMs(1_200), () => 1, false);
    expect(sent.get(499)).toBe(0);
    expect(paced.messageCount).toBe(1_200);
    expect(paced.latenessMaxMs).toBe(0);
  });

  test('an aborted run sends nothing more', async () => {
    const stop = new AbortController();
    const clock = fakeClock();
    const publish: Publish = async ([message]) => {
      if (message?.sequence === 5) stop.abort();
    };
    const paced = await pace(everyTenMs(100), { publish, clock, signal: stop.signal, isPaced: true });
    expect(paced.messageCount).toBe(6);
  });

  test('a publisher that fails ends the run with its error', async () => {
    const publish: Publish = () => Promise.reject(new Error('log is closed'));
    const signal = new AbortController().signal;
    await expect(pace(everyTenMs(3), { publish, clock: fakeClock(), signal, isPaced: true })).rejects.toThrow(
      'log is closed',
    );
  });
});
