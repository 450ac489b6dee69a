// `bun run throughput`: readings a second from Kafka into PostgreSQL as queryable rows, by one scorer or --scorers N, their
// memory, what processor time they and the servers take, and how that compares with psql's bare copy of the same rows. With
// --soak MINUTES it keeps a steady load on instead, and reports how memory moves. Exits 1 when a row is missing.
import { spawn } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { createTopics, processorSeconds, startKafka, startPostgres, topicRanges } from '@lonetree/devstack';
import postgres from 'postgres';
import { measureBareCopy } from './bare-copy.ts';

const { values } = parseArgs({
  options: {
    readings: { type: 'string', default: '10000000' },
    batch: { type: 'string', default: '1000' },
    partitions: { type: 'string', default: '6' },
    soak: { type: 'string', default: '0' },
    rate: { type: 'string', default: '100000' },
    rounds: { type: 'string', default: '3' },
    scorers: { type: 'string', default: '1' },
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
const startScorer = () =>
  spawn(process.execPath, ['scorer/src/main.ts'], {
    cwd: repository,
    env: {
      ...process.env,
      KAFKA_BROKERS: kafka.brokers,
      DATABASE_URL: database.url,
      PORT: '0',
      LOG_LEVEL: 'warn',
    },
    stdio: ['ignore', 'ignore', 'inherit'],
  });
const startScorers = () => Array.from({ length: Number(values.scorers) }, startScorer);
/** Megabytes that the largest of the processes holds, as Linux counts them. */
const residentMb = (children: ReturnType<typeof startScorers>) =>
  Math.max(
    ...children.map(
      ({ pid }) =>
        Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1] ?? 0) / 1_024,
    ),
  );

const sql = postgres(database.url, { max: 1, onnotice() {} });
const stored = async () => {
  const [row] =
    await sql`select coalesce(sum(next_offset), 0)::float8 * ${batch}::int as readings from consumer_offset`;
  return row?.readings as number;
};

let report: object;
let scorers: ReturnType<typeof startScorers>;
if (soakMinutes === 0) {
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
  const finished = ended(load).then(() => true);
  while (!(await Promise.race([finished, Bun.sleep(60_000).then(() => false)]))) {
    minutes.push(Math.round(residentMb(scorers)));
    console.error(
      `minute ${minutes.length}: ${minutes.at(-1)} MB, ${((await stored()) / 1e6).toFixed(1)} million readings`,
    );
  }
  const messages = (await topicRanges(kafka, 'readings')).reduce((sum, range) => sum + Number(range.end), 0);
  while ((await stored()) < messages * batch) await Bun.sleep(pollMs);
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
const rows = row?.rows as number;
const gone = scorers.map(ended);
for (const scorer of scorers) scorer.kill('SIGTERM');
await Promise.all(gone);
const bareRates =
  soakMinutes === 0 && rows > 0 ? await measureBareCopy(sql, database.url, Number(values.rounds)) : [];
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
