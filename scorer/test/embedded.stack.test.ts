import { Database } from 'bun:sqlite';
import { expect, test } from 'bun:test';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fromBinary } from '@bufbuild/protobuf';
import { AnomalySchema, SensorBatchSchema } from '@lonetree/proto';
import { seededRandom } from './simulation.ts';

// The embedded mode is killed as the full one is: one process, one file, everything compared at the end.

const killCount = 25;
const runMsMax = 900;

function start(folder: string) {
  return Bun.spawn([process.execPath, join(import.meta.dir, 'embedded-child.ts')], {
    env: {
      ...process.env,
      DATA_DIR: folder,
      PORT: '0',
      LOG_LEVEL: 'warn',
      KAFKA_BROKERS: '',
      DATABASE_URL: '',
    },
    stdin: 'ignore',
    stdout: 'pipe',
    stderr: 'pipe',
  });
}

/** Resolves when the child takes readings; throws what it said when it ended instead. */
async function untilRunning(child: ReturnType<typeof start>): Promise<void> {
  const { value } = await child.stdout.getReader().read();
  if (value === undefined) throw new Error(`the scorer ended: ${await new Response(child.stderr).text()}`);
}

test(`killed ${killCount} times in the middle of its work, the embedded scorer has every reading exactly once`, async () => {
  const folder = mkdtempSync(join(tmpdir(), 'lonetree-embedded-'));
  const random = seededRandom(7);
  try {
    for (let kills = 0; kills < killCount; kills += 1) {
      const child = start(folder);
      await untilRunning(child);
      await Bun.sleep(random() * runMsMax);
      child.kill('SIGKILL');
      await child.exited;
    }
    const last = start(folder);
    await untilRunning(last);
    await Bun.sleep(runMsMax);
    last.kill('SIGTERM');
    expect(await last.exited).toBe(0);

    const result = compare(join(folder, 'lonetree.sqlite'));
    console.error(JSON.stringify(result));
    expect(result).toMatchObject({
      lost: 0,
      twice: 0,
      phantom: 0,
      wrong: 0,
      anomaliesMissing: 0,
      anomaliesPhantom: 0,
    });
    expect(result.readings).toBeGreaterThan(10_000);
    expect(result.anomalies).toBeGreaterThan(100);
  } finally {
    rmSync(folder, { recursive: true });
  }
}, 120_000);

/** The log against the tables; what was not scored yet when the process ended is no loss. */
function compare(file: string) {
  const database = new Database(file, { readonly: true, strict: true });
  const position = (
    database.query("select next_offset from consumer_offset where topic = 'readings'").get() as {
      next_offset: number;
    }
  ).next_offset;
  const stored = new Map<string, { rows: number; values: string }>();
  for (const row of database
    .query('select "offset", row, count(*) as rows, "values" from prediction group by 1, 2')
    .all() as {
    offset: number;
    row: number;
    rows: number;
    values: string;
  }[]) {
    stored.set(`${row.offset}-${row.row}`, row);
  }
  const result = {
    readings: 0,
    lost: 0,
    twice: 0,
    wrong: 0,
    phantom: 0,
    anomalies: 0,
    anomaliesMissing: 0,
    anomaliesPhantom: 0,
  };
  for (const { offset, value } of database
    .query(`select "offset", value from log where topic = 'readings' and "offset" < ${position}`)
    .all() as {
    offset: number;
    value: Uint8Array;
  }[]) {
    const temperatures =
      fromBinary(SensorBatchSchema, value).columns.find(({ name }) => name === 'temperature')?.values ?? [];
    for (const [row, temperature] of temperatures.entries()) {
      const found = stored.get(`${offset}-${row}`);
      result.readings += 1;
      if (found === undefined) result.lost += 1;
      else {
        result.twice += found.rows - 1;
        const [kept] = JSON.parse(found.values) as [number | null];
        if (Number.isNaN(temperature) ? kept !== null : Math.fround(kept ?? Number.NaN) !== temperature)
          result.wrong += 1;
      }
    }
  }
  result.phantom = stored.size - (result.readings - result.lost);
  const ids = new Set(
    (database.query('select id from anomaly').all() as { id: string }[]).map(({ id }) => id),
  );
  const published = new Set(
    (database.query("select value from log where topic = 'anomalies'").all() as { value: Uint8Array }[]).map(
      ({ value }) => fromBinary(AnomalySchema, value).id,
    ),
  );
  result.anomalies = ids.size;
  result.anomaliesMissing = ids.difference(published).size;
  result.anomaliesPhantom = published.difference(ids).size;
  database.close();
  return result;
}

test('a second process on the same file, and a folder that cannot be one, are refused with what to do', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'lonetree-embedded-'));
  try {
    const first = start(folder);
    await untilRunning(first);
    const second = start(folder);
    expect(await second.exited).toBe(1);
    expect(await new Response(second.stderr).text()).toContain('set DATA_DIR to another folder');
    first.kill('SIGTERM');
    expect(await first.exited).toBe(0);
    const file = join(folder, 'a-file');
    writeFileSync(file, '');
    const third = start(file);
    expect(await third.exited).toBe(1);
    expect(await new Response(third.stderr).text()).toContain('DATA_DIR');
  } finally {
    rmSync(folder, { recursive: true });
  }
}, 60_000);
