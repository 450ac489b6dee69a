// `bun run throughput`: readings a second from Kafka into PostgreSQL as queryable rows, by one scorer or --scorers N, their
// memory, what processor time they and the servers take, and how that compares with psql's bare copy of the same rows. With
// --soak MINUTES it keeps a load of --rate on instead, and reports how memory moves. With --shadow RATE it compares, in turns, a
// challenger that scores that share of the messages too with none. Exits 1 when a row is missing.
import { spawn } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { createTopics, processorSeconds, startKafka, startPostgres, topicRanges } from '@lonetree/devstack';
import postgres from 'postgres';
import { measureBareCopy } from './bare-copy.ts';
import { startFakeMlflow } from './fake-mlflow.ts';
import { moreAlarming, shippedForest } from './forest-variants.ts';

const { values } = parseArgs({
  options: {
    readings: { type: 'string', default: '10000000' },
    batch: { type: 'string', default: '1000' },
    partitions: { type: 'string', default: '6' },
    soak: { type: 'string', default: '0' },
    rate: { type: 'string', default: '100000' },
    rounds: { type: 'string', default: '3' },
    scorers: { type: 'string', default: '1' },
    shadow: { type: 'string', default: '0' },
  },
});
const batch = Number(values.batch);
const soakMinutes = Number(values.soak);
const repository = join(import.meta.dir, '..', '..');
const pollMs = 50;

const [kafka, database] = await Promise.all([startKafka({ heapMb: 1_024 }), startPostgres()]);
await createTopics(kafka, [
  { name: 'readings', partitions: Number(values.partitions) },
  { name: 'anomalies', partitions: 3 },
  { name: 'readings.dead-letter', partitions: 1 },
]);
const simulate = (args: readonly string[]) =>
  spawn(
    process.execPath,
    [
      'simulator/src/main.ts',
      '--to',
      'kafka',
      '--brokers',
      kafka.brokers,
      '--stations',
      '100',
      '--batch',
      String(batch),
      ...args,
    ],
    {
      cwd: repository,
      stdio: ['ignore', 'pipe', 'ignore'],
    },
  );
const ended = (child: ReturnType<typeof spawn>) =>
  new Promise<void>((resolve) => child.once('exit', () => resolve()));
const startScorer = (environment: Readonly<Record<string, string>>) =>
  spawn(process.execPath, ['scorer/src/main.ts'], {
    cwd: repository,
    env: {
      ...process.env,
      KAFKA_BROKERS: kafka.brokers,
      DATABASE_URL: database.url,
      PORT: '0',
      LOG_LEVEL: 'warn',
      ...environment,
    },
    stdio: ['ignore', 'ignore', 'inherit'],
  });
const startScorers = (environment: Readonly<Record<string, string>> = {}) =>
  Array.from({ length: Number(values.scorers) }, () => startScorer(environment));
/** Megabytes that the largest of the processes holds, as Linux counts them. */
const residentMb = (children: ReturnType<typeof startScorers>) =>
  Math.max(
    ...children.map(
      ({ pid }) =>
        Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1] ?? 0) / 1_024,
    ),
  );

const sql = postgres(database.url, { max: 1, onnotice() {} });
const stored = async (group = 'scorer') => {
  const [row] = await sql`select coalesce(sum(next_offset), 0)::float8 * ${batch}::int as readings
    from consumer_offset where consumer = ${group}`;
  return row?.readings as number;
};

/** Ends the scorers of one turn; the other one finds the tables empty. */
async function endTurn(turn: ReturnType<typeof startScorers>): Promise<void> {
  const gone = turn.map(ended);
  for (const scorer of turn) scorer.kill('SIGTERM');
  await Promise.all(gone);
}

/** Readings a second by scorers of a group of their own, from a tenth of all on: by then the challenger is there. */
async function measureTurn(group: string, environment: Readonly<Record<string, string>>) {
  const total = Number(values.readings);
  const dataFolder = mkdtempSync(join(tmpdir(), 'lonetree-throughput-'));
  await sql`checkpoint`;
  const turn = startScorers({ ...environment, KAFKA_GROUP: group, DATA_DIR: dataFolder });
  let begun: { atMs: number; readings: number } | undefined;
  let peakMb = 0;
  for (let readings = 0; readings < total; await Bun.sleep(pollMs)) {
    readings = await stored(group).catch(() => 0); // The tables are not there before the scorer is.
    if (readings >= total / 10) begun ??= { atMs: performance.now(), readings };
    peakMb = Math.max(peakMb, residentMb(turn));
  }
  const { atMs, readings } = begun ?? { atMs: 0, readings: 0 };
  const readingsPerSecond = (total - readings) / ((performance.now() - atMs) / 1_000);
  await endTurn(turn);
  rmSync(dataFolder, { recursive: true });
  const [row] = await sql`select (select count(*) from prediction)::float8 as rows,
    (select count(*) from shadow_score)::float8 as shadow`;
  await sql`truncate prediction, anomaly, shadow_score`;
  return { readingsPerSecond, peakMb, rows: row?.rows as number, shadowRows: row?.shadow as number };
}

/** Turns without and with a challenger, one after the other. */
async function measureShadow(sampleRate: string) {
  const mlflow = startFakeMlflow();
  mlflow.versions.set('1', { artifact: shippedForest() });
  mlflow.versions.set('2', { artifact: moreAlarming() });
  mlflow.aliases.set('champion', '1').set('challenger', '2');
  const turns: Record<'off' | 'on', Awaited<ReturnType<typeof measureTurn>>[]> = { off: [], on: [] };
  for (let round = 0; round < Number(values.rounds); round += 1) {
    for (const [name, rate] of [
      ['off', '0'],
      ['on', sampleRate],
    ] as const) {
      const environment = { MLFLOW_TRACKING_URI: mlflow.uri, SHADOW_SAMPLE_RATE: rate };
      turns[name].push(await measureTurn(`${name}-${round}`, environment));
      console.error(`${name}: ${JSON.stringify(turns[name].at(-1))}`);
    }
  }
  await mlflow.stop();
  const ratios = turns.on.map(
    ({ readingsPerSecond }, round) =>
      readingsPerSecond / (turns.off[round] as (typeof turns.off)[0]).readingsPerSecond,
  );
  const middle = (numbers: number[]) => numbers.sort((a, b) => a - b)[numbers.length >> 1] as number;
  const rateOf = (list: typeof turns.on) =>
    Math.round(middle(list.map(({ readingsPerSecond }) => readingsPerSecond)));
  const peakOf = (list: typeof turns.on) => Math.round(Math.max(...list.map(({ peakMb }) => peakMb)));
  const all = [...turns.off, ...turns.on];
  const report = {
    readings: Number(values.readings),
    readingsPerMessage: batch,
    sampleRate: Number(sampleRate),
    readingsPerSecondWithout: rateOf(turns.off),
    readingsPerSecondWith: rateOf(turns.on),
    ratio: Number(middle(ratios).toFixed(3)),
    ratios: ratios.map((ratio) => Number(ratio.toFixed(3))),
    // Less than the sample rate when the shadow was behind.
    shadowShare: Number(middle(turns.on.map(({ shadowRows, rows }) => shadowRows / rows)).toFixed(4)),
    scorerPeakMbWithout: peakOf(turns.off),
    scorerPeakMbWith: peakOf(turns.on),
  };
  return { report, rows: Math.min(...all.map(({ rows }) => rows)) };
}

const millions = (count: number) => `${(count / 1e6).toFixed(1)} million`;

/** A soak stores more than disks hold: from so many rows on they are counted and dropped. */
const keptRowsMax = 20_000_000;
/** Readings whose rows were counted, as far as they were there, and dropped. */
let countedReadings = 0;
let missingRows = 0;
async function countAndEmpty(): Promise<void> {
  // Rows and positions of one moment; messages are full while others follow.
  const [seen] = await sql.begin(
    'isolation level repeatable read',
    (tx) => tx`select (select count(*) from prediction)::float8 as rows,
      (select sum(next_offset) from consumer_offset)::float8 * ${batch}::int as readings`,
  );
  missingRows += (seen?.readings as number) - countedReadings - (seen?.rows as number);
  await sql.begin(async (tx) => {
    await tx`truncate prediction`;
    const [left] = await tx`select sum(next_offset)::float8 * ${batch}::int as readings from consumer_offset`;
    countedReadings = left?.readings as number;
  });
}

let report: object;
let scorers: ReturnType<typeof startScorers> = [];
let shadowedRows: number | undefined;
if (Number(values.shadow) > 0) {
  await ended(simulate(['--rate', 'max', '--readings', values.readings]));
  ({ report, rows: shadowedRows } = await measureShadow(values.shadow));
} else if (soakMinutes === 0) {
  await ended(simulate(['--rate', 'max', '--readings', values.readings]));
  const total = Number(values.readings);
  await sql`checkpoint`; // Writing what came before is not the scorer's.
  scorers = startScorers();
  let peakMb = 0;
  const processes = {
    scorers: scorers.map(({ pid }) => pid as number),
    postgres: [database.pid],
    kafka: [kafka.pid],
  };
  const used = () =>
    Object.values(processes).map((pids) => pids.reduce((sum, pid) => sum + processorSeconds(pid), 0));
  let first: { atMs: number; readings: number; used: number[] } | undefined;
  for (let readings = 0; readings < total; await Bun.sleep(pollMs)) {
    readings = await stored().catch(() => 0); // The tables are not there before the scorer is.
    if (readings > 0 && first === undefined) first = { atMs: performance.now(), readings, used: used() };
    peakMb = Math.max(peakMb, residentMb(scorers));
    if (process.stderr.isTTY)
      process.stderr.write(`\r${readings.toLocaleString('en')} of ${total.toLocaleString('en')} `);
  }
  const { atMs, readings, used: usedBefore } = first ?? { atMs: 0, readings: 0, used: [] };
  const seconds = (performance.now() - atMs) / 1_000;
  const usedSeconds = used().map((now, index) => now - (usedBefore[index] ?? 0));
  report = {
    readings: total,
    readingsPerMessage: batch,
    scorers: scorers.length,
    readingsPerSecond: Math.round((total - readings) / seconds),
    scorerPeakMb: Math.round(peakMb),
    // Per kind of process: nanoseconds of processor time a reading, and processors kept busy.
    processor: Object.fromEntries(
      Object.keys(processes).map((name, index) => [
        name,
        {
          nsPerReading: Math.round(((usedSeconds[index] as number) * 1e9) / (total - readings)),
          busy: Number(((usedSeconds[index] as number) / seconds).toFixed(2)),
        },
      ]),
    ),
  };
} else {
  scorers = startScorers();
  const load = simulate(['--rate', values.rate, '--duration', `${soakMinutes}m`]);
  const minutes: number[] = [];
  let summary = '';
  load.stdout?.on('data', (chunk) => {
    summary += String(chunk);
  });
  const sent = async () =>
    batch * (await topicRanges(kafka, 'readings')).reduce((sum, range) => sum + Number(range.end), 0);
  const finished = ended(load).then(() => true);
  while (!(await Promise.race([finished, Bun.sleep(60_000).then(() => false)]))) {
    minutes.push(Math.round(residentMb(scorers)));
    const [done, due] = [await stored(), await sent()];
    console.error(
      `minute ${minutes.length}: ${minutes.at(-1)} MB, ${millions(done)} readings stored, ${millions(due - done)} waiting`,
    );
    if (done - countedReadings > keptRowsMax) await countAndEmpty();
  }
  while ((await stored()) < (await sent())) await Bun.sleep(pollMs);
  // The last message of each station is not full: what was sent is what the simulator says.
  const { readings } = JSON.parse(summary) as { readings: number };
  report = {
    readings,
    readingsPerMessage: batch,
    readingsPerSecond: Number(values.rate),
    scorerMbByMinute: minutes,
  };
}
const [row] = await sql`select count(*)::float8 as rows from prediction`;
const rows = shadowedRows ?? countedReadings - missingRows + (row?.rows as number);
await endTurn(scorers);
const bareRates =
  soakMinutes === 0 && shadowedRows === undefined && rows > 0
    ? await measureBareCopy(sql, database.url, Number(values.rounds))
    : [];
await sql.end();
if (bareRates.length > 0) {
  const median = bareRates.sort((a, b) => a - b)[bareRates.length >> 1] as number;
  const { readingsPerSecond } = report as { readingsPerSecond: number };
  report = {
    ...report,
    bareCopyRowsPerSecond: Math.round(median),
    ofBareCopy: Number((readingsPerSecond / median).toFixed(3)),
  };
}
await Promise.all([kafka.stop(), database.stop()]);
const expected = (report as { readings: number }).readings;
console.log(
  JSON.stringify({
    ...report,
    rows,
    missing: expected - rows,
    scorerExitCodes: scorers.map(({ exitCode }) => exitCode),
  }),
);
process.exit(rows === expected ? 0 : 1);
