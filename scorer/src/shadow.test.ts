// The shadow between two real engines and a store that fails as a test wants it.
import { beforeAll, beforeEach, expect, test } from 'bun:test';
import { Engine } from '@lonetree/core-wasm';
import { moreAlarming, shippedForest } from '../test/forest-variants.ts';
import { type ActiveModel, scoreMessages, toBatches } from './pipeline.ts';
import { encodeReadings } from './reading-json.ts';
import { createShadow, type Shadow, type ShadowOptions, type ShadowSample } from './shadow.ts';
import { createSampler } from './shadow-sample.ts';
import type { ShadowScores } from './store.ts';

type Row = {
  readonly offset: number;
  readonly row: number;
  readonly station: string;
  readonly scores: readonly [champion: number, challenger: number];
  readonly verdicts: readonly [champion: number, challenger: number];
};

const topic = 'readings';
let champion: ActiveModel & { readonly engine: Engine };
let rival: ActiveModel;
let challenger: ActiveModel | null;
let stored: Row[];
let writes: number[];
/** Before the store takes rows. */
let gate: () => Promise<void>;
let counted: Parameters<ShadowOptions['observer']['shadowStored']>[0][];
let dropped: [reason: string, rowCount: number][];
let warnings: string[];

beforeAll(async () => {
  champion = { engine: await Engine.load(shippedForest()), modelId: 1, version: '1' };
  rival = { engine: await Engine.load(moreAlarming()), modelId: 2, version: '2' };
});
beforeEach(() => {
  challenger = rival;
  stored = [];
  writes = [];
  gate = () => Promise.resolve();
  counted = [];
  dropped = [];
  warnings = [];
});

function makeShadow(changes: Partial<ShadowOptions> = {}): Shadow {
  return createShadow({
    challenger: () => challenger,
    store: {
      async writeShadow(scores) {
        const rows = [...rowsOf(scores)]; // before the first wait, as the contract demands
        await gate();
        stored.push(...rows);
        writes.push(rows.length);
      },
    },
    topic,
    sampleRate: 1,
    waitingMax: 1,
    blockRowsMax: 1_000,
    turnRowsMax: 1_000,
    log: { warn: ({ err }: { err?: Error }) => warnings.push(err?.message ?? '') },
    observer: {
      shadowStored: (counts) => counted.push(counts),
      shadowDropped: (...what) => dropped.push(what),
    },
    ...changes,
  });
}

function* rowsOf({ block, offsets, championScores, championIsAnomaly }: ShadowScores): Generator<Row> {
  let at = 0;
  for (const [message, offset] of offsets.entries()) {
    for (let row = 0; row < (block.messageRows[message] as number); row += 1, at += 1) {
      yield {
        offset,
        row,
        station: block.station(at),
        scores: [championScores[at] as number, block.scores[at] as number],
        verdicts: [championIsAnomaly[at] as number, block.isAnomaly[at] as number],
      };
    }
  }
}

/** A message of so many readings, each a little further from what is ordinary. */
function makeMessage(offset: number, rowCount: number) {
  const readings = Array.from({ length: rowCount }, (_, row) => ({
    station: `${offset}-${row}`,
    timeMs: Date.UTC(2026, 10, 23),
    values: { temperature: 28 + ((offset * 7 + row) % 30) / 3, humidity: 17.5, sound: 54.3 },
  }));
  const encoded = encodeReadings(readings);
  if ('rejected' in encoded) throw new Error(encoded.rejected.detail);
  return { offset, timeMs: 0, key: null, value: encoded.batch, contentType: null, headers: {} };
}

/** A block as the pipeline has it when the shadow sees it, and what the champion says of its rows. */
function scoreBlock(from: number, sizes: readonly number[], partition = 0) {
  const messages = sizes.map((size, index) => makeMessage(from + index, size));
  const next = BigInt(from + sizes.length);
  const batches = toBatches({ partition, from: BigInt(from), next, messages });
  const { verdicts } = scoreMessages(champion, topic, batches, 0);
  const { scores, isAnomaly } = verdicts.block;
  let at = 0;
  const rows = sizes.flatMap((size, index) =>
    Array.from({ length: size }, (_, row) => {
      const facts = { offset: from + index, row, station: `${from + index}-${row}` };
      at += 1;
      return { ...facts, score: scores[at - 1] as number, isAnomaly: isAnomaly[at - 1] as number };
    }),
  );
  return { verdicts, batches, rows };
}

function takeSample(shadow: Shadow, block: ReturnType<typeof scoreBlock>): ShadowSample {
  const sample = shadow.sample(block.verdicts, block.batches, 0);
  if (sample === null) throw new Error('nothing was sampled');
  return sample;
}

async function until(isSo: () => boolean): Promise<void> {
  while (!isSo()) await Bun.sleep(1);
}

test('what both models say is stored row by row, and verdicts and disagreements are counted', async () => {
  const shadow = makeShadow();
  const block = scoreBlock(5, [3, 1, 60, 9]);
  const sample = takeSample(shadow, block);
  scoreBlock(99, [200]); // The champion goes on: its memory is another block's.
  shadow.compare(sample);
  await until(() => counted.length === 1);
  expect(stored.map(({ offset, row, station }) => [offset, row, station])).toEqual(
    block.rows.map(({ offset, row, station }) => [offset, row, station]),
  );
  expect(stored.map(({ scores }) => scores[0])).toEqual(block.rows.map(({ score }) => score));
  expect(stored.map(({ scores }) => scores[1])).toEqual(block.rows.map(({ score }) => score));
  expect(stored.map(({ verdicts }) => verdicts[0])).toEqual(block.rows.map(({ isAnomaly }) => isAnomaly));
  const abnormal = (model: 0 | 1) => stored.filter(({ verdicts }) => verdicts[model] === 1).length;
  const apart = stored.filter(({ verdicts: [a, b] }) => a !== b).length;
  expect(abnormal(1)).toBeGreaterThan(abnormal(0));
  expect(counted).toEqual([
    {
      rowCount: block.rows.length,
      championAnomalyCount: abnormal(0),
      challengerAnomalyCount: abnormal(1),
      disagreementCount: apart,
    },
  ]);
  expect(dropped).toEqual([]);
});

test('at a rate only the messages of the sampler are compared, whole', async () => {
  const shadow = makeShadow({ sampleRate: 0.3 });
  const isSampled = createSampler(topic, 0.3);
  const block = scoreBlock(
    1_000,
    Array.from({ length: 100 }, (_, index) => 1 + (index % 5)),
    3,
  );
  shadow.compare(takeSample(shadow, block));
  await until(() => counted.length === 1);
  const expected = block.rows.filter(({ offset }) => isSampled(3, offset));
  expect(expected.length).toBeGreaterThan(30);
  expect(stored.map(({ station }) => station)).toEqual(expected.map(({ station }) => station));
});

test('without a challenger, or with the champion as its own, nothing is set aside', () => {
  const shadow = makeShadow();
  challenger = null;
  const block = scoreBlock(0, [5]);
  expect(shadow.sample(block.verdicts, block.batches, 0)).toBeNull();
  challenger = { ...rival, modelId: champion.modelId };
  expect(shadow.sample(block.verdicts, block.batches, 0)).toBeNull();
  expect(dropped).toEqual([]);
});

test('of a block no more rows than allowed are taken, messages whole, and the rest is counted', async () => {
  const shadow = makeShadow({ blockRowsMax: 10 });
  shadow.compare(takeSample(shadow, scoreBlock(0, [4, 5, 3, 1, 11])));
  await until(() => counted.length === 1);
  expect(stored.map(({ offset }) => offset)).toEqual([0, 0, 0, 0, 1, 1, 1, 1, 1, 3]);
  expect(dropped).toEqual([['too-many', 14]]);
});

test('others have their turn after so many rows, and no message is cut', async () => {
  const shadow = makeShadow({ turnRowsMax: 10 });
  const block = scoreBlock(0, [4, 5, 3, 25, 1, 1]);
  shadow.compare(takeSample(shadow, block));
  await until(() => stored.length === block.rows.length);
  expect(writes).toEqual([9, 3, 25, 2]);
  expect(stored.map(({ station, scores }) => [station, scores[0]])).toEqual(
    block.rows.map(({ station, score }) => [station, score]),
  );
});

test.each([1, 3])(
  'while the store is slow %i blocks wait in their order; further ones are left out and counted',
  async (waitingMax) => {
    const { promise, resolve } = Promise.withResolvers<void>();
    gate = () => promise;
    const shadow = makeShadow({ waitingMax });
    const takeOne = (_: unknown, index: number) => takeSample(shadow, scoreBlock(10 * index, [2]));
    const samples = Array.from({ length: waitingMax + 2 }, takeOne);
    shadow.compare(samples[0] as ShadowSample);
    await Bun.sleep(5); // The first is being stored.
    for (const sample of samples.slice(1)) shadow.compare(sample);
    const late = scoreBlock(90, [3]);
    expect(shadow.sample(late.verdicts, late.batches, 0)).toBeNull();
    expect(dropped).toEqual([
      ['behind', 2],
      ['behind', 3],
    ]);
    resolve();
    await until(() => counted.length === waitingMax + 1);
    const expected = samples.slice(0, -1).flatMap((_, index) => [10 * index, 10 * index]);
    expect(stored.map(({ offset }) => offset)).toEqual(expected);
    shadow.compare(takeSample(shadow, scoreBlock(100, [1])));
    await until(() => stored.at(-1)?.offset === 100);
  },
);

test('a store that fails is one warning, its rows are counted, and it goes on by itself', async () => {
  let isAway = true;
  gate = () => (isAway ? Promise.reject(new Error('the database is away')) : Promise.resolve());
  const shadow = makeShadow();
  for (const from of [0, 10, 20]) {
    shadow.compare(takeSample(shadow, scoreBlock(from, [2])));
    await until(() => dropped.length === from / 10 + 1);
  }
  expect(dropped).toEqual(Array.from({ length: 3 }, () => ['failed', 2]));
  expect(warnings).toEqual(['the database is away']);
  isAway = false;
  shadow.compare(takeSample(shadow, scoreBlock(30, [2])));
  await until(() => counted.length === 1);
  expect(stored.map(({ offset }) => offset)).toEqual([30, 30]);
});

test('a challenger that throws, or takes other rows than the champion, is left out and ends nobody', async () => {
  const shadow = makeShadow();
  const compare = async (from: number, engine: Partial<ActiveModel['engine']>) => {
    challenger = { ...rival, engine: { ...delegate(rival.engine), ...engine } };
    shadow.compare(takeSample(shadow, scoreBlock(from, [2, 2])));
    await until(() => dropped.length === from + 1);
  };
  await compare(0, {
    score() {
      throw new Error('no memory');
    },
  });
  await compare(1, { appendAll: (messages, first) => rival.engine.appendAll(messages.slice(1), first) });
  await compare(2, {
    appendAll: (messages, first) =>
      rival.engine.appendAll(
        messages.map((message, index) => (index === 0 ? null : message)),
        first,
      ),
  });
  expect(dropped).toEqual([
    ['failed', 4],
    ['unpaired', 4],
    ['unpaired', 4],
  ]);
  expect(stored).toEqual([]);
  challenger = rival;
  shadow.compare(takeSample(shadow, scoreBlock(50, [1])));
  await until(() => counted.length === 1);
});

test('a challenger that goes while its sample waits is not asked any more', async () => {
  const shadow = makeShadow();
  const sample = takeSample(shadow, scoreBlock(0, [2]));
  shadow.compare(sample);
  challenger = null;
  await Bun.sleep(5);
  expect(stored).toEqual([]);
  challenger = rival;
  shadow.compare(takeSample(shadow, scoreBlock(10, [2])));
  await until(() => counted.length === 1);
});

test('closing ends with what is under way and forgets what waits', async () => {
  const { promise, resolve } = Promise.withResolvers<void>();
  gate = () => promise;
  const shadow = makeShadow();
  const samples = [0, 10, 20].map((from) => takeSample(shadow, scoreBlock(from, [2])));
  shadow.compare(samples[0] as ShadowSample);
  await Bun.sleep(5);
  shadow.compare(samples[1] as ShadowSample);
  let isClosed = false;
  const closed = shadow.close().then(() => {
    isClosed = true;
  });
  await Bun.sleep(5);
  expect(isClosed).toBe(false);
  resolve();
  await closed;
  shadow.compare(samples[2] as ShadowSample);
  await Bun.sleep(5);
  expect(stored.map(({ offset }) => offset)).toEqual([0, 0]);
});

const delegate = ({ model, begin, appendAll, score }: ActiveModel['engine']): ActiveModel['engine'] => ({
  model,
  begin: begin.bind(rival.engine),
  appendAll: appendAll.bind(rival.engine),
  score: score.bind(rival.engine),
});
