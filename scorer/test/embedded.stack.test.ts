// A process with one SQLite file, killed again and again while it publishes, scores and stores; then everything is counted.
import { afterEach, beforeEach, expect, test } from 'bun:test';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fromBinary } from '@bufbuild/protobuf';
import { AnomalySchema, SensorBatchSchema } from '@lonetree/proto';
import { runSimulator } from '@lonetree/simulator';
import { readConfig } from '../src/config.ts';
import { createLog } from '../src/log.ts';
import { startService } from '../src/service.ts';
import { type Database, openDatabase } from '../src/sqlite.ts';
import { retrained, shippedForest } from './forest-variants.ts';
import { seededRandom } from './simulation.ts';

const killCount = 25;
const aliveMsMax = 1_500;
const deadlineMs = 60_000;
const repository = join(import.meta.dir, '..', '..');

let folder: string;
const children = new Set<ReturnType<typeof startScorer>>();
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'lonetree-embedded-'));
});
afterEach(async () => {
  for (const child of children) child.kill('SIGKILL');
  await Promise.all([...children].map(({ exited }) => exited));
  children.clear();
  rmSync(folder, { recursive: true });
});

/** `fleet`: seed of the readings that it publishes; without one it publishes none. */
function startScorer(fleet = '', dataFolder = folder, settings: Readonly<Record<string, string>> = {}) {
  const { KAFKA_BROKERS: _, DATABASE_URL: __, ...environment } = process.env;
  const child = Bun.spawn([process.execPath, join(import.meta.dir, 'chaos', 'embedded.ts')], {
    cwd: repository,
    env: { ...environment, DATA_DIR: dataFolder, PORT: '0', FLEET: fleet, ...settings },
    stdout: 'pipe',
    stderr: 'pipe',
  });
  children.add(child);
  return child;
}

async function endOf(child: ReturnType<typeof startScorer>) {
  const [exitCode, output, complaint] = await Promise.all([
    child.exited,
    new Response(child.stdout).text(),
    new Response(child.stderr).text(),
  ]);
  return { exitCode, output, complaint };
}

const lastCount = (output: string) => Number(output.trimEnd().split('\n').at(-1));
const idOf = (offset: number, row: number) => `readings-0-${offset}-${row}`;

/** Every reading of the log's messages, by id. */
function readSent(database: Database): Map<string, string> {
  const sent = new Map<string, string>();
  const messages = database.query(`select "offset", value from log where topic = 'readings'`).all() as {
    offset: number;
    value: Uint8Array;
  }[];
  for (const { offset, value } of messages) {
    const { stations, stationIndices, baseTimeMs, timeDeltasMs } = fromBinary(SensorBatchSchema, value);
    let timeMs = baseTimeMs;
    for (const [row, delta] of timeDeltasMs.entries()) {
      timeMs += delta;
      sent.set(idOf(offset, row), `${stations[stationIndices[row] ?? 0]} ${timeMs}`);
    }
  }
  return sent;
}

function readStored(database: Database) {
  return database.query('select "offset", row, station, time, is_anomaly from prediction').all() as {
    offset: number;
    row: number;
    station: string;
    time: number;
    is_anomaly: number;
  }[];
}

function countFlaws(database: Database) {
  const sent = readSent(database);
  const stored = readStored(database);
  const seen = new Set(stored.map(({ offset, row }) => idOf(offset, row)));
  const abnormal = new Set(
    stored.filter(({ is_anomaly }) => is_anomaly === 1).map(({ offset, row }) => idOf(offset, row)),
  );
  const recorded = (database.query('select id from anomaly').all() as { id: string }[]).map(({ id }) => id);
  const published = new Set(
    (database.query(`select value from log where topic = 'anomalies'`).all() as { value: Uint8Array }[]).map(
      ({ value }) => fromBinary(AnomalySchema, value).id,
    ),
  );
  return {
    sent: sent.size,
    abnormal: abnormal.size,
    flaws: {
      lost: [...sent.keys()].filter((id) => !seen.has(id)).length,
      twice: stored.length - seen.size,
      phantom: stored.filter(
        ({ offset, row, station, time }) => sent.get(idOf(offset, row)) !== `${station} ${time}`,
      ).length,
      anomaliesTwice: recorded.length - new Set(recorded).size,
      anomaliesUnlikePredictions: new Set(recorded).symmetricDifference(abnormal).size,
      anomaliesUnpublished: [...abnormal].filter((id) => !published.has(id)).length,
      anomaliesInvented: [...published].filter((id) => !abnormal.has(id)).length,
    },
  };
}

/** A scorer in this process, as the file takes no second one, until it has stored all that the log has. */
async function storeTheRest(): Promise<void> {
  const config = readConfig({ DATA_DIR: folder, PORT: '0' });
  const service = await startService(config, createLog('silent'), {
    onFatal(error) {
      throw error;
    },
  });
  const end = performance.now() + deadlineMs;
  for (;;) {
    const { end: logEnd } = await service.broker.watermarks(0);
    const { next } = await service.store.position(0, 0n);
    if (next === logEnd) break;
    if (performance.now() > end) throw new Error(`only ${next} of ${logEnd} messages were stored in time`);
    await Bun.sleep(20);
  }
  await service.stop();
}

test('nothing is lost, doubled or invented while the process is killed at random moments', async () => {
  const random = seededRandom(1);
  let confirmed = 0;
  for (let kill = 0; kill < killCount; kill += 1) {
    const child = startScorer(String(kill + 1));
    await Bun.sleep(random() * aliveMsMax);
    child.kill('SIGKILL');
    const { output, complaint } = await endOf(child);
    expect(complaint).toBe('');
    confirmed += lastCount(output);
  }

  await storeTheRest();
  const database = openDatabase(folder);
  const { sent, abnormal, flaws } = countFlaws(database);
  const messageCount = database.query(`select count(*) as count from log where topic = 'readings'`).get();
  database.close();
  console.error(JSON.stringify({ killCount, confirmed, sent, abnormal, ...flaws }));
  expect((messageCount as { count: number }).count).toBeGreaterThanOrEqual(confirmed);
  expect(flaws).toEqual({
    lost: 0,
    twice: 0,
    phantom: 0,
    anomaliesTwice: 0,
    anomaliesUnlikePredictions: 0,
    anomaliesUnpublished: 0,
    anomaliesInvented: 0,
  });
  expect(confirmed).toBeGreaterThan(1_000);
  expect(abnormal).toBeGreaterThan(50);
}, 180_000);

test('a second process on the same folder ends with exit code 1 and says why, and the first goes on', async () => {
  const first = startScorer('1');
  const reader = first.stdout.getReader();
  await reader.read(); // It has published, so it has the file.
  const second = await endOf(startScorer('2'));
  expect(second).toEqual({
    exitCode: 1,
    output: '',
    complaint: `${join(folder, 'lonetree.sqlite')} cannot be used: another process has it open; end that one, or set DATA_DIR to another folder.\n`,
  });
  expect((await reader.read()).done).toBe(false);
  first.kill('SIGTERM');
  expect(await first.exited).toBe(0);
}, 30_000);

test('a folder that cannot be one ends the process with exit code 1 and what to do', async () => {
  const file = join(folder, 'file');
  writeFileSync(file, '');
  const { exitCode, complaint } = await endOf(startScorer('', file));
  expect(complaint).toBe(
    `${join(file, 'lonetree.sqlite')} cannot be used: its folder cannot be made; set DATA_DIR to a folder, or to where one can be made.\n`,
  );
  expect(exitCode).toBe(1);
}, 30_000);

test('a model that cannot be read ends the process with exit code 1 and what to do', async () => {
  const file = join(folder, 'mine.forest');
  const withFile = () => endOf(startScorer('', folder, { MODEL_FILE: file }));
  const absent = await withFile();
  expect(absent.complaint).toStartWith(`The model ${file} cannot be read`);
  const advice = `Set MODEL_FILE, now ${file}, to a .forest file that can be used.\n`;
  expect(absent.complaint).toEndWith(advice);
  writeFileSync(file, 'temperature,humidity');
  const refused = await withFile();
  expect(refused.complaint).toStartWith('The forest file is refused');
  expect(refused.complaint).toEndWith(advice);
  expect([absent.exitCode, refused.exitCode]).toEqual([1, 1]);
}, 30_000);

test('a file that is replaced by another model is followed while readings are stored, and none is lost', async () => {
  const file = join(folder, 'mine.forest');
  writeFileSync(file, shippedForest());
  const config = readConfig({ DATA_DIR: folder, MODEL_FILE: file, MODEL_POLL_SECONDS: '1', PORT: '0' });
  const service = await startService(config, createLog('silent'), {
    onFatal(error) {
      throw error;
    },
  });
  const stopping = new AbortController();
  const simulation = runSimulator({
    stationCount: 50,
    seed: 1,
    mode: 'independent',
    faults: { everyMs: 200 },
    readingsPerSecond: 10_000,
    batchSize: 10,
    signal: stopping.signal,
    publish: (messages) => service.broker.publish('readings', messages),
  });
  const digests = new Set<string>();
  for (let seed = 0; digests.size < 3; seed += 1) {
    const before = digests.size;
    while (digests.size === before) {
      const newest = await service.store.predictions({ limit: 1 });
      for (const { modelSha256 } of newest) digests.add(modelSha256);
      await Bun.sleep(20);
    }
    writeFileSync(file, retrained(seed));
  }
  stopping.abort();
  await simulation;
  await service.stop();
  await storeTheRest();
  const database = openDatabase(folder);
  const { sent, flaws } = countFlaws(database);
  const causes = database.query('select distinct cause from model_swap order by 1').values();
  database.close();
  expect(sent).toBeGreaterThan(1_000);
  expect(Object.values(flaws).reduce((sum, count) => sum + count)).toBe(0);
  expect(causes).toEqual([['poll'], ['start']]);
}, 60_000);
