// A seeded world for the pipeline: a log, a table, a group of scorers, and everything that goes wrong between them.
// Time is virtual and one event happens after the other, so a seed replays to the last step.
import { create, fromBinary, toBinary } from '@bufbuild/protobuf';
import type { Rejection } from '@lonetree/core-wasm';
import { AnomalySchema, DeadLetterSchema, SensorBatchSchema } from '@lonetree/proto';
import { type Broker, bytesOf, type Message, type Outgoing } from '../src/broker.ts';
import { createPipeline, type Pipeline, type Scoring } from '../src/pipeline.ts';
import type { AnomalyRecord, Store, Verdicts } from '../src/store.ts';

export type SimulationReport = {
  readonly seed: number;
  readonly messages: number;
  readonly readings: number;
  readonly lost: number;
  readonly twice: number;
  readonly phantom: number;
  readonly wrong: number;
  readonly anomaliesMissing: number;
  readonly anomaliesPhantom: number;
  readonly deadLettersMissing: number;
  readonly gaps: number;
  /** How often each kind of trouble came up: a simulation without trouble proves nothing. */
  readonly troubles: Readonly<Record<string, number>>;
};

/** How many promises a world broke; 0 is the only right answer. */
export const flawCount = (report: SimulationReport): number =>
  report.lost +
  report.twice +
  report.phantom +
  report.wrong +
  report.anomaliesMissing +
  report.anomaliesPhantom +
  report.deadLettersMissing +
  report.gaps;

type Row = { readonly key: string; readonly value: number; readonly isAnomaly: boolean };
type Random = () => number;
type Task = { readonly atMs: number; readonly order: number; readonly run: () => void };

const partitionCount = 3;
const readingsTopic = 'readings';
/** Readings that the engine of this world holds at once: small, so that blocks are often stored in parts. */
const engineRowCountMax = 24;

/** Mulberry32 (Tommy Ettinger, public domain): 32 bits of state are plenty to choose troubles. */
export function seededRandom(seed: number): Random {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

class Clock {
  nowMs = 0;
  readonly #tasks: Task[] = [];
  #order = 0;

  at(delayMs: number, run: () => void): void {
    this.#order += 1;
    this.#tasks.push({ atMs: this.nowMs + delayMs, order: this.#order, run });
  }

  wait(delayMs: number): Promise<void> {
    return new Promise((resolve) => this.at(delayMs, resolve));
  }

  /** Runs the earliest task and lets all that follows from it settle. Answers false when there is none. */
  async step(): Promise<boolean> {
    if (this.#tasks.length === 0) return false;
    this.#tasks.sort((a, b) => a.atMs - b.atMs || a.order - b.order);
    const task = this.#tasks.shift() as Task;
    this.nowMs = task.atMs;
    task.run();
    await new Promise((resolve) => setImmediate(resolve));
    return true;
  }
}

/** What survives every crash: the log and the database. */
class World {
  readonly log: Message[][] = Array.from({ length: partitionCount }, () => []);
  readonly logStart: number[] = Array.from({ length: partitionCount }, () => 0);
  readonly rows: Row[] = [];
  readonly positions = new Map<number, { next: bigint; from: bigint }>();
  readonly anomalies: AnomalyRecord[] = [];
  readonly publishedAnomalies = new Set<string>();
  readonly deadLetters = new Set<string>();
  readonly troubles: Record<string, number> = {};
  gaps = 0;
  isHealed = false;

  readonly random: Random;
  readonly clock: Clock;

  constructor(random: Random, clock: Clock) {
    this.random = random;
    this.clock = clock;
  }

  chance(probability: number): boolean {
    return !this.isHealed && this.random() < probability;
  }

  note(trouble: string): void {
    this.troubles[trouble] = (this.troubles[trouble] ?? 0) + 1;
  }

  /**
   * Runs an effect somewhere in time as a remote system would: it may fail before, after (the answer is lost), or
   * answer with a time-out and still take effect later.
   */
  async remote<T>(name: string, effect: () => T): Promise<T> {
    await this.clock.wait(this.random() * 20);
    if (this.chance(0.04)) {
      this.note(`${name} failed`);
      throw new Error(`${name} failed`);
    }
    if (this.chance(0.03)) {
      this.note(`${name} took effect after its time-out`);
      this.clock.at(this.random() * 400, effect);
      throw new Error(`${name} timed out`);
    }
    const answer = effect();
    if (this.chance(0.03)) {
      this.note(`${name} took effect, answer lost`);
      throw new Error(`${name}: answer lost`);
    }
    await this.clock.wait(this.random() * 20);
    return answer;
  }

  produce(): void {
    const partition = Math.floor(this.random() * partitionCount);
    const log = this.log[partition] as Message[];
    // Now and then offsets are skipped, as after compaction or a transaction's marker.
    const offset =
      ((log.length === 0 ? this.logStart[partition] : Number(log.at(-1)?.offset) + 1) as number) +
      (this.random() < 0.05 ? 2 : 0);
    log.push({
      offset,
      timeMs: 1e12,
      key: null,
      contentType: null,
      headers: {},
      value: this.random() < 0.06 ? Uint8Array.of(0xff) : this.#batch(),
    });
  }

  #batch(): Uint8Array {
    const count = 1 + Math.floor(this.random() * 9);
    return toBinary(
      SensorBatchSchema,
      create(SensorBatchSchema, {
        stations: ['s'],
        timeDeltasMs: Array.from({ length: count }, () => 1n),
        columns: [{ name: 'x', values: Array.from({ length: count }, () => Math.fround(this.random())) }],
      }),
    );
  }
}

/** Decodes with the Protobuf library; a reading above 0.9 is abnormal. Its memory is spoilt by every `begin`. */
function createEngine(): Scoring {
  let rows: { value: number; timeMs: number }[] = [];
  let messageRows: number[] = [];
  let spoil = () => {};
  return {
    model: { sha256: 'm', features: ['x'], offset: -0.5 } as unknown as Scoring['model'],
    begin() {
      spoil();
      rows = [];
      messageRows = [];
    },
    appendAll(messages, first) {
      const refused: { index: number; rejection: Rejection }[] = [];
      for (const [index, message] of messages.entries()) {
        if (index < first) continue;
        const bytes = message && bytesOf(message);
        if (bytes === null || bytes[0] === 0xff) {
          messageRows.push(0);
          if (bytes !== null)
            refused.push({ index, rejection: { reason: 'malformed', detail: 'spoilt on purpose' } });
          continue;
        }
        const { columns, timeDeltasMs } = fromBinary(SensorBatchSchema, bytes);
        const values = columns[0]?.values ?? [];
        if (rows.length > 0 && rows.length + values.length > engineRowCountMax)
          return { next: index, refused };
        for (const [reading, value] of values.entries())
          rows.push({ value, timeMs: Number(timeDeltasMs[reading]) });
        messageRows.push(values.length);
      }
      return { next: messages.length, refused };
    },
    score() {
      const values = Float32Array.from(rows, ({ value }) => value);
      const scores = Float64Array.from(rows, ({ value }) => -value);
      spoil = () => {
        values.fill(-7);
        scores.fill(-7);
      };
      return {
        rowCount: rows.length,
        featureCount: 1,
        values,
        valueStride: 1,
        times: Float64Array.from(rows, ({ timeMs }) => timeMs),
        sums: scores,
        scores,
        severities: scores,
        isAnomaly: Uint8Array.from(values, (value) => Number(value > 0.9)),
        anomalyRows: Uint32Array.from(
          [...values.entries()].filter(([, value]) => value > 0.9).map(([row]) => row),
        ),
        reasonsOf: () => ['forest'],
        station: () => 's',
        memory: new Uint8Array(),
        stationStart: new Uint32Array(rows.length),
        stationLength: new Uint32Array(rows.length),
        messageRows: Uint32Array.from(messageRows),
        ignoredFeatureCount: 0,
        copyPieces() {
          throw new Error('not part of this world');
        },
      };
    },
  };
}

function createStore(world: World): Store {
  const unused = () => Promise.reject(new Error('not part of this world'));
  return {
    migrate: unused,
    registerModel: unused,
    recordSwap: unused,
    writeShadow: unused,
    predictions: unused,
    anomalies: unused,
    maintain: unused,
    isReady: () => Promise.resolve(true),
    close: () => Promise.resolve(),
    position: (partition, start) =>
      world.remote('reading the position', () => {
        if (!world.positions.has(partition)) world.positions.set(partition, { next: start, from: start });
        const { next, from } = world.positions.get(partition) as { next: bigint; from: bigint };
        const anomalies = world.anomalies.filter(
          (a) => a.partition === partition && a.offset >= from && a.offset < next,
        );
        return { next, anomalies };
      }),
    write(verdicts) {
      const rows = encodeRows(verdicts); // before the first wait, as the contract demands
      const { partition, from, next, anomalies } = verdicts;
      return world.remote('storing', () => {
        if (world.positions.get(partition)?.next !== from) {
          world.note('fenced');
          return false;
        }
        world.rows.push(...rows);
        world.anomalies.push(...anomalies);
        world.positions.set(partition, { next, from });
        return true;
      });
    },
    skipGap: (partition, from, to) =>
      world.remote('skipping a gap', () => {
        if (world.positions.get(partition)?.next !== from) return false;
        world.positions.set(partition, { next: to, from: to });
        world.gaps += 1;
        return true;
      }),
  };
}

function encodeRows({ partition, block, offsets }: Verdicts): Row[] {
  let blockRow = -1;
  return [...offsets].flatMap((offset, message) =>
    Array.from({ length: block.messageRows[message] as number }, (_, row) => {
      blockRow += 1;
      return {
        key: `${readingsTopic}-${partition}-${offset}-${row}`,
        value: block.values[blockRow] as number,
        isAnomaly: block.isAnomaly[blockRow] === 1,
      };
    }),
  );
}

/** One scorer process: it may lose its partitions without noticing at once, and it may die at any step. */
class Scorer {
  readonly pipeline: Pipeline;
  readonly fetchFrom = new Map<number, bigint>();
  readonly busy = new Set<number>();
  assigned: readonly number[] = [];
  isDead = false;
  readonly world: World;
  #rejectLeft: (error: Error) => void = () => {};

  constructor(world: World) {
    this.world = world;
    const ifAlive = <T>(work: () => Promise<T>): Promise<T> => (this.isDead ? new Promise(() => {}) : work());
    const store = createStore(world);
    const publish = (topic: string, messages: readonly Outgoing[]) =>
      ifAlive(() =>
        world.remote('publishing', () => {
          for (const { value } of messages) {
            if (topic === 'anomalies') world.publishedAnomalies.add(fromBinary(AnomalySchema, value).id);
            else {
              const { partition, offset } = fromBinary(DeadLetterSchema, value);
              world.deadLetters.add(`${partition}-${offset}`);
            }
          }
        }),
      );
    const broker: Broker = {
      consume: () => Promise.resolve(),
      seek: (partition, offset) => void this.fetchFrom.set(partition, offset),
      watermarks: (partition) =>
        ifAlive(() =>
          world.remote('reading watermarks', () => {
            const log = world.log[partition] as Message[];
            const start = BigInt(world.logStart[partition] as number);
            return { start, end: log.length === 0 ? start : BigInt((log.at(-1) as Message).offset + 1) };
          }),
        ),
      publish,
      reportPosition: () => {},
      isReady: () => true,
      close: () => Promise.resolve(),
    };
    this.pipeline = createPipeline({
      broker,
      store: {
        ...store,
        position: (...args) => ifAlive(() => store.position(...args)),
        write: (verdicts) => ifAlive(() => store.write(verdicts)),
        skipGap: (...args) => ifAlive(() => store.skipGap(...args)),
      },
      activeModel: () => ({ engine: this.engine, modelId: 1, version: '' }),
      shadow: null,
      topics: { readings: readingsTopic, anomalies: 'anomalies', deadLetters: 'dead' },
      log: { info() {}, warn() {}, error() {} },
      observer: {
        spent() {},
        scored: () => () => {},
        stored() {},
        dropped: (_, reason) => world.note(`dropped: ${reason}`),
        gapSkipped() {},
      },
      wait: (milliseconds) => (this.isDead ? new Promise(() => {}) : world.clock.wait(milliseconds)),
      retry: { firstMs: 50, maxMs: 400 },
    });
  }

  readonly engine = createEngine();

  /** The group has told this scorer what is its own now. Its first fetch may begin anywhere the group remembers. */
  assign(partitions: readonly number[]): void {
    this.assigned = partitions;
    for (const partition of partitions) {
      const known = this.world.positions.get(partition)?.next ?? 0n;
      const behind = BigInt(Math.floor(this.world.random() * 6));
      this.fetchFrom.set(partition, known > behind ? known - behind : 0n);
    }
    this.pipeline.handlers.assigned(partitions);
  }

  /** The next heartbeat says that the group has moved on. */
  leave(): void {
    this.#rejectLeft(new Error('the group is rebalancing'));
  }

  async fetch(partition: number): Promise<void> {
    if (this.isDead || this.busy.has(partition)) return;
    const from = this.fetchFrom.get(partition);
    if (from === undefined) return;
    const log = this.world.log[partition] as Message[];
    const messages = log
      .filter(({ offset }) => offset >= from)
      .slice(0, 1 + Math.floor(this.world.random() * 8));
    const last = messages.at(-1);
    if (last === undefined) return;
    const { promise: left, reject } = Promise.withResolvers<never>();
    left.catch(() => {});
    this.#rejectLeft = reject;
    this.busy.add(partition);
    const next = BigInt(last.offset + 1);
    const isStored = await this.pipeline.handlers.block({ partition, from, next, messages }, left);
    this.busy.delete(partition);
    if (isStored && this.fetchFrom.get(partition) === from) this.fetchFrom.set(partition, next);
  }
}

/** Runs the world for a while, heals it, lets it drain, and compares the log with the table. */
export async function simulate(seed: number, stepCount = 4_000): Promise<SimulationReport> {
  const random = seededRandom(seed);
  const clock = new Clock();
  const world = new World(random, clock);
  let scorers: Scorer[] = [new Scorer(world), new Scorer(world)];
  const zombies: Scorer[] = [];

  const rebalance = () => {
    // The one that was frozen or slow goes on with what it had: nobody told it.
    const unaware =
      random() < 0.3 && !world.isHealed ? scorers[Math.floor(random() * scorers.length)] : undefined;
    for (const [index, scorer] of scorers.entries()) {
      scorer.leave();
      if (scorer === unaware && scorers.length > 1) {
        world.note('zombie');
        zombies.push(scorer);
        scorers = scorers.filter((other) => other !== scorer);
        return rebalance();
      }
      scorer.assign(
        Array.from({ length: partitionCount }, (_, p) => p).filter((p) => p % scorers.length === index),
      );
    }
  };
  const kill = () => {
    const victim = scorers.splice(Math.floor(random() * scorers.length), 1)[0];
    if (victim !== undefined) victim.isDead = true;
    world.note('killed');
    scorers.push(new Scorer(world));
    rebalance();
  };
  const fetchSomething = () => {
    const scorer =
      random() < 0.2 && zombies.length > 0
        ? zombies[Math.floor(random() * zombies.length)]
        : scorers[Math.floor(random() * scorers.length)];
    const partition = scorer?.assigned[Math.floor(random() * scorer.assigned.length)];
    if (partition !== undefined) void scorer?.fetch(partition);
  };
  const wakeZombie = () => {
    const zombie = zombies.shift();
    if (zombie === undefined) return;
    zombie.leave();
    scorers.push(zombie);
    rebalance();
  };
  const deleteOldMessages = () => {
    const partition = Math.floor(random() * partitionCount);
    const position = world.positions.get(partition)?.next ?? 0n;
    const log = world.log[partition] as Message[];
    // Only what was read: a gap would be a loss, and that is tested by itself.
    while (log.length > 1 && (log[0] as Message).offset < position && random() < 0.5) {
      const message = log.shift() as Message;
      deleted.push([partition, message]);
      // Offsets that are skipped behind it are not deleted: a start beyond the position would be a gap.
      world.logStart[partition] = message.offset + 1;
    }
  };
  const deleted: [number, Message][] = [];

  rebalance();
  for (let step = 0; step < stepCount; step += 1) {
    const dice = random();
    if (dice < 0.25) world.produce();
    else if (dice < 0.6) fetchSomething();
    else if (dice < 0.606) kill();
    else if (dice < 0.612) rebalance();
    else if (dice < 0.618) wakeZombie();
    else if (dice < 0.622) deleteOldMessages();
    else await clock.step();
    if (scorers.length > 4) {
      const retired = scorers.pop();
      if (retired !== undefined) retired.isDead = true;
      rebalance();
    }
  }
  world.isHealed = true;
  for (const zombie of zombies) zombie.isDead = true;
  rebalance();
  const isDrained = () =>
    world.log.every(
      (log, partition) =>
        log.length === 0 ||
        world.positions.get(partition)?.next === BigInt((log.at(-1) as Message).offset + 1),
    );
  for (let step = 0; step < 200_000 && !isDrained(); step += 1) {
    fetchSomething();
    await clock.step();
  }
  while (await clock.step()) {
    // What is still under way comes to its end: late effects must not do harm either.
  }
  return compare(seed, world, deleted);
}

function compare(seed: number, world: World, deleted: readonly [number, Message][]): SimulationReport {
  const expected = new Map<string, number>();
  const badMessages: string[] = [];
  const messages = [
    ...deleted,
    ...world.log.flatMap((log, partition) => log.map((message) => [partition, message] as const)),
  ];
  for (const [partition, { offset, value }] of messages) {
    const bytes = value && bytesOf(value);
    if (bytes === null || bytes[0] === 0xff) {
      badMessages.push(`${partition}-${offset}`);
      continue;
    }
    const values = fromBinary(SensorBatchSchema, bytes).columns[0]?.values ?? [];
    for (const [row, x] of values.entries())
      expected.set(`${readingsTopic}-${partition}-${offset}-${row}`, x);
  }
  const stored = new Map<string, Row>();
  let twice = 0;
  for (const row of world.rows) {
    if (stored.has(row.key)) twice += 1;
    stored.set(row.key, row);
  }
  const abnormal = new Set([...stored.values()].filter(({ isAnomaly }) => isAnomaly).map(({ key }) => key));
  const count = <T>(items: Iterable<T>, isCounted: (item: T) => boolean) =>
    [...items].filter(isCounted).length;
  return {
    seed,
    messages: messages.length,
    readings: expected.size,
    lost: count(expected.keys(), (key) => !stored.has(key)),
    twice,
    phantom: count(stored.keys(), (key) => !expected.has(key)),
    wrong: count(
      stored.values(),
      ({ key, value, isAnomaly }) => expected.get(key) !== value || isAnomaly !== value > 0.9,
    ),
    anomaliesMissing: count(abnormal, (id) => !world.publishedAnomalies.has(id)),
    anomaliesPhantom: count(world.publishedAnomalies, (id) => !abnormal.has(id)),
    deadLettersMissing: count(badMessages, (id) => !world.deadLetters.has(id)),
    gaps: world.gaps,
    troubles: world.troubles,
  };
}
