// Scorers, a broker and a database under load while they are killed and frozen; then everything is compared.
import { type ChildProcess, spawn } from 'node:child_process';
import { mkdtempSync, openSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import {
  createTopics,
  type Kafka,
  type Postgres,
  startKafka,
  startPostgres,
  topicRanges,
} from '@lonetree/devstack';
import { Kafka as KafkaClient, logLevel } from 'kafkajs';
import postgres from 'postgres';
import { seededRandom } from '../simulation.ts';
import { type Comparison, compare } from './checker.ts';

const topics = { readings: 'readings', anomalies: 'anomalies', deadLetters: 'readings.dead-letter' };
const partitionCount = 6;
const repository = join(import.meta.dir, '..', '..', '..');
const faultPlaces = ['before-begin', 'before-copy', 'in-copy', 'before-move', 'after-commit'] as const;
/** Longer than a session: who is frozen for this long has lost its partitions without knowing. */
const frozenMs = 9_000;
const restartDelayMs = 500;
const drainDeadlineMs = 90_000;

/** Each seed has another one; the producer's is none. */
const compressions = ['producer', 'gzip', 'snappy', 'lz4', 'zstd'];

type Scorer = { readonly process: ChildProcess; isWanted: boolean; isFrozen: boolean };
export type CampaignOptions = {
  readonly seed: number;
  /** Names of `events`, one after the other. */
  readonly events: readonly string[];
  readonly messagesPerSecond: number;
  readonly readingsPerMessage: number;
  readonly say: (line: string) => void;
};
export type CampaignReport = Comparison & {
  /** Of the messages, by Kafka. */
  readonly compression: string;
  readonly kills: number;
  readonly freezes: number;
  /** Blocks that a scorer wanted to store when another one already had. */
  readonly fenced: number;
  readonly isDrained: boolean;
  readonly longestStandstillMs: number;
};

class Campaign {
  readonly folder = mkdtempSync(join(tmpdir(), 'lonetree-chaos-'));
  readonly scorers: Scorer[] = [];
  readonly kafka: Kafka;
  readonly database: Postgres;
  readonly random: () => number;
  kills = 0;
  freezes = 0;
  #isRunning = true;

  get #log(): string {
    return join(this.folder, 'scorers.log');
  }

  constructor(kafka: Kafka, database: Postgres, random: () => number) {
    this.kafka = kafka;
    this.database = database;
    this.random = random;
  }

  start(fault = ''): Scorer {
    const log = openSync(this.#log, 'a');
    const environment = {
      KAFKA_BROKERS: this.kafka.brokers,
      DATABASE_URL: this.database.url,
      DATA_DIR: this.folder,
      PORT: '0',
      LOG_LEVEL: 'info',
      FAULT: fault,
    };
    const child = spawn(process.execPath, [join(import.meta.dir, 'scorer.ts')], {
      cwd: repository,
      env: { ...process.env, ...environment },
      stdio: ['ignore', log, log],
    });
    const scorer: Scorer = { process: child, isWanted: true, isFrozen: false };
    this.scorers.push(scorer);
    child.once('exit', () => {
      this.scorers.splice(this.scorers.indexOf(scorer), 1);
      if (scorer.isWanted && this.#isRunning)
        setTimeout(() => this.#isRunning && this.start(), restartDelayMs);
    });
    return scorer;
  }

  pick(): Scorer {
    const awake = this.scorers.filter(({ isFrozen }) => !isFrozen);
    return awake[Math.floor(this.random() * awake.length)] as Scorer;
  }

  kill(scorer = this.pick()): void {
    if (scorer?.process.kill('SIGKILL')) this.kills += 1;
  }

  async freeze(scorer: Scorer, milliseconds: number): Promise<void> {
    this.freezes += 1;
    scorer.isFrozen = true;
    scorer.process.kill('SIGSTOP');
    await Bun.sleep(milliseconds);
    scorer.process.kill('SIGCONT');
    scorer.isFrozen = false;
  }

  async leave(scorer = this.pick()): Promise<void> {
    scorer.isWanted = false;
    const gone = new Promise((resolve) => scorer.process.once('exit', resolve));
    scorer.process.kill('SIGTERM');
    await gone;
  }

  countFenced(): number {
    return readFileSync(this.#log, 'utf8').split('"msg":"fenced"').length - 1;
  }

  async end(): Promise<void> {
    this.#isRunning = false;
    await Promise.all(
      this.scorers.map((scorer) => {
        const gone = new Promise((resolve) => scorer.process.once('exit', resolve));
        scorer.process.kill('SIGCONT');
        scorer.process.kill('SIGKILL');
        return gone;
      }),
    );
    await Promise.all([this.kafka.stop(), this.database.stop()]);
    rmSync(this.folder, { recursive: true });
  }
}

const between = (random: () => number, low: number, high: number) => low + random() * (high - low);

type Event = (campaign: Campaign) => Promise<void>;
const atFault = (place: string): Record<string, Event> => ({
  [`kill:${place}`]: async (c) => {
    const scorer = c.start(`${place}:SIGKILL:${Math.ceil(between(c.random, 10, 40))}`);
    const gone = new Promise((resolve) => scorer.process.once('exit', resolve));
    await Promise.race([gone, Bun.sleep(12_000)]);
    if (scorer.process.signalCode === null) throw new Error(`the scorer never came to ${place}`);
    c.kills += 1;
  },
  [`freeze:${place}`]: async (c) => {
    const scorer = c.start(`${place}:SIGSTOP:${Math.ceil(between(c.random, 10, 40))}`);
    c.freezes += 1;
    scorer.isFrozen = true;
    await Bun.sleep(4_000 + frozenMs);
    scorer.process.kill('SIGCONT');
    scorer.isFrozen = false;
    await Bun.sleep(1_000);
  },
});

/** What can happen. Each ends when the fault is over; recovery goes on under the next one. */
export const events: Readonly<Record<string, Event>> = {
  calm: () => Bun.sleep(3_000),
  kill: async (c) => {
    c.kill();
    await Bun.sleep(between(c.random, 500, 8_000));
  },
  'kill-many': async (c) => {
    for (let i = 0; i < 5; i += 1) {
      if (c.pick() !== undefined) c.kill();
      await Bun.sleep(between(c.random, 200, 3_000));
    }
  },
  zombie: (c) => c.freeze(c.pick(), frozenMs),
  'two-zombies': async (c) => {
    await Promise.all([c.freeze(c.pick(), frozenMs), c.freeze(c.pick(), frozenMs + 1_000)]);
  },
  leave: async (c) => {
    await c.leave();
    await Bun.sleep(1_500);
    c.start();
  },
  churn: async (c) => {
    for (let i = 0; i < 6; i += 1) {
      if (c.random() < 0.5 && c.scorers.length > 2) await c.leave();
      else if (c.scorers.length < 4) c.start();
      await Bun.sleep(between(c.random, 200, 2_000));
    }
  },
  'database-killed': async (c) => {
    await c.database.kill9();
    await Bun.sleep(between(c.random, 500, 3_000));
    await c.database.start();
  },
  'database-frozen': async (c) => {
    c.database.freeze();
    await Bun.sleep(frozenMs);
    c.database.thaw();
  },
  'connections-cut': async (c) => {
    const sql = postgres(c.database.url, clientOptions);
    for (let i = 0; i < 8; i += 1) {
      await sql`select pg_terminate_backend(pid) from pg_stat_activity where application_name like 'lonetree%' order by random() limit 1`;
      await Bun.sleep(300);
    }
    await sql.end();
  },
  'broker-killed': async (c) => {
    await c.kafka.kill9();
    await Bun.sleep(between(c.random, 200, 2_000));
    await c.kafka.start();
  },
  'broker-frozen': async (c) => {
    c.kafka.freeze();
    await Bun.sleep(frozenMs);
    c.kafka.thaw();
  },
  ...Object.assign({}, ...faultPlaces.map(atFault)),
};

export async function runCampaign(options: CampaignOptions): Promise<CampaignReport> {
  const { say } = options;
  const [kafka, database] = await Promise.all([startKafka(), startPostgres()]);
  const campaign = new Campaign(kafka, database, seededRandom(options.seed));
  try {
    const compression = compressions[options.seed % compressions.length] as string;
    await createTopics(kafka, [
      {
        name: topics.readings,
        partitions: partitionCount,
        settings: { 'compression.type': compression },
      },
      { name: topics.anomalies, partitions: 3 },
      { name: topics.deadLetters, partitions: 1 },
    ]);
    for (let i = 0; i < 3; i += 1) campaign.start();
    await Bun.sleep(2_500);
    const load = startLoad(kafka, campaign.folder, options);
    const watch = watchPositions(database.url);
    for (const name of options.events) {
      const event = events[name];
      if (event === undefined) throw new Error(`there is no event ${name}`);
      while (campaign.scorers.length < 3) campaign.start();
      const startMs = performance.now();
      await event(campaign);
      say(`${name.padEnd(22)} ${((performance.now() - startMs) / 1_000).toFixed(1)} s`);
      await Bun.sleep(1_000);
      while (campaign.scorers.length > 3) await campaign.leave();
    }
    await load.stop();
    const isDrained = await drain(kafka, database.url);
    const longestStandstillMs = await watch.stop();
    await Bun.sleep(1_000); // The last block's anomalies come after its transaction.
    const comparison = await compare(kafka, database.url, load.ledgers);
    return {
      ...comparison,
      compression,
      kills: campaign.kills,
      freezes: campaign.freezes,
      fenced: campaign.countFenced(),
      isDrained,
      longestStandstillMs,
    };
  } finally {
    await campaign.end();
  }
}

/** Two simulators as producers, one of small messages and one of large ones, and messages that nobody can read in between. */
function startLoad(
  kafka: Kafka,
  folder: string,
  { messagesPerSecond, readingsPerMessage, seed }: CampaignOptions,
) {
  const ledgers: string[] = [];
  const simulators = [1, 2 * readingsPerMessage - 1].map((batch) => {
    const ledger = join(folder, `ledger-${batch}.tsv`);
    ledgers.push(ledger);
    const settings = {
      to: 'kafka',
      brokers: kafka.brokers,
      stations: 60,
      rate: (messagesPerSecond / 2) * batch,
      batch,
      seed: seed + batch,
      faults: 'every:1s',
      ledger,
    };
    const args = Object.entries(settings).flatMap(([name, value]) => [`--${name}`, String(value)]);
    return spawn(process.execPath, ['simulator/src/main.ts', ...args], { cwd: repository, stdio: 'ignore' });
  });
  const producer = new KafkaClient({
    brokers: kafka.brokers.split(','),
    logLevel: logLevel.NOTHING,
    retry: { retries: 3 },
  }).producer();
  const connected = producer.connect();
  const timer = setInterval(() => {
    // Lost ones do not matter: what counts is what the topic holds.
    void connected
      .then(() =>
        producer.send({ topic: topics.readings, messages: [{ value: Buffer.from([0xff, 0x00, 0x01]) }] }),
      )
      .catch(() => {});
  }, 250);
  return {
    ledgers,
    async stop() {
      clearInterval(timer);
      const gone = simulators.map((simulator) => new Promise((resolve) => simulator.once('exit', resolve)));
      for (const simulator of simulators) simulator.kill('SIGTERM');
      await Promise.all(gone);
      await producer.disconnect();
    },
  };
}

/** A server that is killed while a connection asks it for types would be an unhandled rejection. */
const clientOptions = { max: 1, fetch_types: false, onnotice() {} } as const;

/** The longest time in which no partition's position moved, as seen every 100 ms. */
function watchPositions(url: string) {
  let isWatching = true;
  let longestMs = 0;
  const watching = (async () => {
    let last = '';
    let movedMs = performance.now();
    while (isWatching) {
      const sql = postgres(url, { ...clientOptions, connect_timeout: 1 });
      try {
        const [row] = await Promise.race([
          sql`select string_agg(partition || ':' || next_offset, ' ' order by partition) as positions from consumer_offset`,
          Bun.sleep(1_000).then(() => []),
        ]);
        if (row !== undefined && row.positions !== last) {
          last = row.positions;
          longestMs = Math.max(longestMs, performance.now() - movedMs);
          movedMs = performance.now();
        }
      } catch {
        // The database is away: that is part of the standstill.
      }
      await sql.end({ timeout: 0 }).catch(() => {});
      await Bun.sleep(100);
    }
    return longestMs;
  })();
  return {
    stop() {
      isWatching = false;
      return watching;
    },
  };
}

/** Waits until every partition's position is the end of its log. */
async function drain(kafka: Kafka, url: string): Promise<boolean> {
  const ranges = await topicRanges(kafka, topics.readings);
  const deadline = performance.now() + drainDeadlineMs;
  const sql = postgres(url, clientOptions);
  try {
    while (performance.now() < deadline) {
      const positions = new Map(
        (await sql`select partition, next_offset from consumer_offset`).map((row) => [
          row.partition as number,
          BigInt(row.next_offset),
        ]),
      );
      if (ranges.every(({ partition, end }) => end === 0n || positions.get(partition) === end)) return true;
      await Bun.sleep(200);
    }
    return false;
  } finally {
    await sql.end();
  }
}
