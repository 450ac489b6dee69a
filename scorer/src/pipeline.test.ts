import { expect, test } from 'bun:test';
import { fromBinary } from '@bufbuild/protobuf';
import { Engine } from '@lonetree/core-wasm';
import { DeadLetterSchema } from '@lonetree/proto';
import { shippedForest } from '../test/forest-variants.ts';
import { flawCount, simulate } from '../test/simulation.ts';
import { type Broker, MessageTooLarge } from './broker.ts';
import { createPipeline, type PipelineOptions, type Scoring } from './pipeline.ts';
import { encodeReadings } from './reading-json.ts';
import type { ShadowSample } from './shadow.ts';
import type { Store } from './store.ts';

test('every reading is stored exactly once and every anomaly published, whatever fails: 40 seeded worlds', async () => {
  const troubles: Record<string, number> = {};
  for (let seed = 1; seed <= 40; seed += 1) {
    const report = await simulate(seed);
    expect(flawCount(report), JSON.stringify(report)).toBe(0);
    expect(report.readings).toBeGreaterThan(1_000);
    for (const [trouble, count] of Object.entries(report.troubles))
      troubles[trouble] = (troubles[trouble] ?? 0) + count;
  }
  for (const trouble of [
    'killed',
    'zombie',
    'fenced',
    'dropped: elsewhere',
    'dropped: error',
    'storing failed',
    'storing took effect after its time-out',
    'storing took effect, answer lost',
    'publishing failed',
    'publishing took effect after its time-out',
    'reading the position failed',
  ]) {
    expect(troubles[trouble] ?? 0).toBeGreaterThan(20);
  }
}, 120_000);

const quietLog = { info() {}, warn() {}, error() {} };
const notCalled = () => {
  throw new Error('not to be called');
};

/** A pipeline between a broker and a store of which a test gives only what it needs. */
function pipelineWith(parts: {
  broker: Partial<Broker>;
  store: Partial<Store>;
  engine?: Partial<Scoring>;
  shadow?: PipelineOptions['shadow'];
}) {
  const gaps: [number, bigint][] = [];
  const pipeline = createPipeline({
    broker: { ...(parts.broker as Broker), reportPosition() {} },
    store: parts.store as Store,
    activeModel: () => ({ engine: parts.engine as Scoring, modelId: 1, version: '' }),
    shadow: parts.shadow ?? null,
    topics: { readings: 'readings', anomalies: 'anomalies', deadLetters: 'dead' },
    log: quietLog,
    observer: {
      spent() {},
      scored: () => () => {},
      stored() {},
      dropped() {},
      gapSkipped: (...gap) => gaps.push(gap),
    },
    wait: () => Bun.sleep(1),
    retry: { firstMs: 1, maxMs: 1 },
  });
  return { pipeline, gaps };
}

test('messages that the log deleted unread are skipped aloud: recorded, counted, then read on', async () => {
  const { promise: sought, resolve } = Promise.withResolvers<bigint>();
  const skipped: unknown[] = [];
  const { pipeline, gaps } = pipelineWith({
    broker: { watermarks: async () => ({ start: 90n, end: 200n }), seek: (_, offset) => resolve(offset) },
    store: {
      position: async () => ({ next: 40n, anomalies: [] }),
      skipGap: async (...gap) => {
        skipped.push(gap);
        return true;
      },
    },
  });
  pipeline.handlers.assigned([3]);
  expect(await sought).toBe(90n);
  expect(skipped).toEqual([[3, 40n, 90n]]);
  expect(gaps).toEqual([[3, 50n]]);
});

test('a position beyond the end of the log stands still and says why, until the log is the right one again', async () => {
  let end = 10n;
  const { promise: sought, resolve } = Promise.withResolvers<bigint>();
  const { pipeline } = pipelineWith({
    broker: { watermarks: async () => ({ start: 0n, end }), seek: (_, offset) => resolve(offset) },
    store: { position: async () => ({ next: 40n, anomalies: [] }), skipGap: notCalled, write: notCalled },
  });
  pipeline.handlers.assigned([0]);
  while (pipeline.troubles().length === 0) await Bun.sleep(1);
  expect(pipeline.troubles()[0]).toContain("position 40 of readings/0 is beyond the log's end 10");
  end = 40n;
  expect(await sought).toBe(40n);
  expect(pipeline.troubles()).toEqual([]);
});

test('a block that waits for its position ends its wait when the group gives the process up', async () => {
  const { pipeline } = pipelineWith({
    broker: { watermarks: () => new Promise(() => {}), seek: notCalled },
    store: { write: notCalled },
  });
  const { promise: left, reject } = Promise.withResolvers<never>();
  const message = {
    offset: 0,
    timeMs: 0,
    key: null,
    value: Uint8Array.of(1),
    contentType: null,
    headers: {},
  };
  const isStored = pipeline.handlers.block({ partition: 0, from: 0n, next: 1n, messages: [message] }, left);
  reject(new Error('rebalancing'));
  expect(await isStored).toBe(false);
});

test('a dead letter that is too large for its topic goes without its message, the others whole', async () => {
  const letters: { offset: bigint; size: number; detail: string }[] = [];
  const { pipeline } = pipelineWith({
    broker: {
      watermarks: async () => ({ start: 0n, end: 2n }),
      seek() {},
      publish: async (_, messages) => {
        if (messages.some(({ value }) => value.length > 1_000)) throw new MessageTooLarge('too large');
        for (const { value } of messages) {
          const letter = fromBinary(DeadLetterSchema, value);
          letters.push({ offset: letter.offset, size: letter.value.length, detail: letter.detail });
        }
      },
    },
    store: { position: async () => ({ next: 0n, anomalies: [] }), write: async () => true },
    engine: {
      model: { features: [], sha256: '', offset: 0 } as unknown as Scoring['model'],
      begin() {},
      appendAll: (messages) => ({
        next: messages.length,
        refused: messages.map((_, index) => ({
          index,
          rejection: { reason: 'malformed', detail: 'Not a batch.' },
        })),
      }),
      score: () => ({ rowCount: 0, anomalyRows: new Uint32Array() }) as ReturnType<Scoring['score']>,
    },
  });
  const message = (offset: number, size: number) => ({
    offset,
    timeMs: 0,
    key: null,
    value: new Uint8Array(size),
    contentType: null,
    headers: {},
  });
  const messages = [message(0, 5_000), message(1, 10)];
  expect(
    await pipeline.handlers.block({ partition: 0, from: 0n, next: 2n, messages }, new Promise(() => {})),
  ).toBe(true);
  expect(letters.map(({ offset, size }) => [offset, size])).toEqual([
    [0n, 0],
    [1n, 10],
  ]);
  expect(letters[0]?.detail).toContain('value 5000 bytes) is too large for this topic');
});

/** Blocks of one abnormal reading each, and in which order what happens to them. */
async function shadowedBlocks(answers: readonly (boolean | 'not published' | 'not stored')[]) {
  const engine = await Engine.load(shippedForest());
  const values = { temperature: 1_000, humidity: 17.5, sound: 54.3 };
  const encoded = encodeReadings([{ station: 's', timeMs: Date.UTC(2026, 10, 23), values }]);
  if ('rejected' in encoded) throw new Error(encoded.rejected.detail);
  const events: string[] = [];
  let position = 0n;
  let answer: (typeof answers)[number] = true;
  const { pipeline } = pipelineWith({
    broker: {
      watermarks: async () => ({ start: 0n, end: 99n }),
      seek() {},
      publish: async (topic) => {
        await Bun.sleep(1);
        if (answer === 'not published') throw new Error('the broker is away');
        events.push(`${topic} published`);
      },
    },
    store: {
      position: async () => ({ next: position, anomalies: [] }),
      write: async () => {
        await Bun.sleep(1);
        if (answer === 'not stored') throw new Error('the database is away');
        events.push(answer === false ? 'fenced' : 'stored');
        return answer !== false;
      },
    },
    engine,
    shadow: {
      sample(verdicts, _, firstIndex) {
        events.push(`sampled ${verdicts.from} from ${firstIndex}: ${verdicts.block.rowCount}`);
        return { rowCount: Number(verdicts.from) } as ShadowSample;
      },
      compare: (sample) => events.push(`compared ${sample.rowCount}`),
    },
  });
  pipeline.handlers.assigned([0]);
  for (answer of answers) {
    const message = {
      offset: Number(position),
      timeMs: 0,
      key: null,
      value: encoded.batch,
      contentType: null,
      headers: {},
    };
    const fetched = { partition: 0, from: position, next: position + 1n, messages: [message] };
    if (await pipeline.handlers.block(fetched, new Promise(() => {}))) position += 1n;
  }
  return events;
}

test('the challenger comes after the champion’s verdicts are stored and published, block by block', async () => {
  expect(await shadowedBlocks([true, true])).toEqual([
    'sampled 0 from 0: 1',
    'stored',
    'anomalies published',
    'compared 0',
    'sampled 1 from 0: 1',
    'stored',
    'anomalies published',
    'compared 1',
  ]);
});

test('what was fenced, not stored or not published is not compared', async () => {
  const events = await shadowedBlocks([false, 'not stored', 'not published', true]);
  expect(events.filter((event) => /^(compared|fenced|stored)/.test(event))).toEqual([
    'fenced',
    'stored',
    'stored',
    'compared 0',
  ]);
});
