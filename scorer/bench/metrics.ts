// `bun run bench:metrics`: what counting costs, in nanoseconds a reading, for blocks of several shapes. Exits 1 when a count is
// wrong, or when it costs more than it may.
import type { Block } from '@lonetree/core-wasm';
import { median, spread, takeNoArguments } from '@lonetree/devstack';
import type { Message } from '../src/broker.ts';
import { createMetrics, type Metrics } from '../src/metrics.ts';
import type { AnomalyRecord } from '../src/store.ts';
import { idleState } from '../test/idle-state.ts';

takeNoArguments(`bun run bench:metrics

Measures what counting costs, in nanoseconds a reading. Prints a line of JSON; exits 1 when a count is wrong or costs too much.`);

type Shape = { readonly messages: number; readonly rows: number };
const shapes: readonly Shape[] = [
  { messages: 1, rows: 1 },
  { messages: 1_000, rows: 1 },
  { messages: 10, rows: 64 },
  { messages: 1, rows: 1_000 },
  { messages: 10, rows: 1_000 },
];
/** Of blocks of many readings; a block of one is what an idle scorer has time for. */
const nsMax = 15;
const fullBlock = 500;
const repetitions = 15;
const readingsPerRepetition = 1_000_000;
const anomalyShare = 0.001;

/** What the pipeline tells of a block, in its order. */
function tell(metrics: Metrics, given: ReturnType<typeof makeBlock>): void {
  metrics.spent('decode', 0.1);
  metrics.spent('score', 0.2);
  const count = metrics.scored(given.block, given.messages, 0);
  metrics.spent('store', 3);
  count();
  metrics.stored(given.counts);
  metrics.spent('publish', 1);
}

function makeBlock({ messages, rows }: Shape) {
  const rowCount = messages * rows;
  const nowMs = Date.now();
  const anomaly = { reasons: ['forest', 'high:temperature'] } as unknown as AnomalyRecord;
  return {
    block: {
      rowCount,
      scores: Float64Array.from({ length: rowCount }, () => -(0.35 + 0.3 * Math.random())),
      messageRows: new Uint32Array(messages).fill(rows),
    } as unknown as Block,
    messages: Array.from(
      { length: messages },
      (_, index) => ({ timeMs: nowMs - Math.floor(index / 50) }) as Message,
    ),
    counts: {
      partition: 0,
      messageCount: messages,
      readingCount: rowCount,
      ignoredFeatureCount: 0,
      anomalies: Array.from({ length: Math.round(rowCount * anomalyShare) }, () => anomaly),
      refused: [],
    },
  };
}

async function measure(shape: Shape) {
  const metrics = createMetrics(idleState);
  const given = makeBlock(shape);
  const { readingCount } = given.counts;
  const calls = Math.ceil(readingsPerRepetition / readingCount / (readingCount === 1 ? 10 : 1));
  const times: number[] = [];
  for (let repetition = -2; repetition < repetitions; repetition += 1) {
    const began = Bun.nanoseconds();
    for (let call = 0; call < calls; call += 1) tell(metrics, given);
    if (repetition >= 0) times.push((Bun.nanoseconds() - began) / calls / readingCount);
  }
  const told = (repetitions + 2) * calls * readingCount;
  const text = await metrics.registry.metrics();
  for (const name of ['lonetree_reading_score_count', 'lonetree_reading_latency_seconds_count'])
    if (!text.includes(`${name} ${told}\n`)) throw new Error(`${name} is not ${told}`);
  return { ...shape, nsPerReading: Number(median(times).toPrecision(3)), spread: spread(times) };
}

const results: Awaited<ReturnType<typeof measure>>[] = [];
for (const shape of shapes) results.push(await measure(shape));
console.log(JSON.stringify({ bun: Bun.version, results }));
for (const { messages, rows, nsPerReading, spread: width } of results)
  console.error(
    `${messages} messages of ${rows}: ${nsPerReading} ns a reading (±${Math.round(100 * width)} %)`,
  );
const tooSlow = results.filter(
  ({ messages, rows, nsPerReading }) => messages * rows >= fullBlock && nsPerReading > nsMax,
);
process.exit(tooSlow.length === 0 ? 0 : 1);
