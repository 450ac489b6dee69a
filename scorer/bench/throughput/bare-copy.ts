// The measure for what a scorer stores: how fast psql alone copies the same rows into the same tables on the same server.
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Sql } from 'postgres';

const table = 'prediction_copied';

/** Rows a second of each round of `\copy … from file with (format binary)` with all rows of `prediction`. */
export async function measureBareCopy(sql: Sql, url: string, rounds: number): Promise<number[]> {
  const folder = mkdtempSync(join(tmpdir(), 'lonetree-rows-'));
  const file = join(folder, 'rows');
  try {
    const rows = await copyByPsql(url, `\\copy (select * from prediction) to '${file}' with (format binary)`);
    await makeTable(sql);
    const rates: number[] = [];
    for (let round = 0; round < rounds; round += 1) {
      await sql`truncate ${sql(table)}`;
      await sql`checkpoint`;
      const startMs = performance.now();
      await copyByPsql(url, `\\copy ${table} from '${file}' with (format binary)`);
      rates.push((rows / (performance.now() - startMs)) * 1_000);
    }
    await sql`drop table ${sql(table)}`;
    return rates;
  } finally {
    rmSync(folder, { recursive: true });
  }
}

/** With the columns, partitions and indexes of `prediction`. */
async function makeTable(sql: Sql): Promise<void> {
  await sql`create table ${sql(table)} (like prediction including all) partition by range (time)`;
  const partitions = await sql`select relname as name, pg_get_expr(relpartbound, oid) as bound from pg_class
    join pg_inherits on inhrelid = oid where inhparent = 'prediction'::regclass`;
  for (const { name, bound } of partitions)
    await sql.unsafe(`create table ${table}_${name} partition of ${table} ${bound}`);
}

/** Answers the number of rows. */
async function copyByPsql(url: string, command: string): Promise<number> {
  const psql = Bun.spawn(['psql', url, '--no-psqlrc', '-v', 'ON_ERROR_STOP=1', '-c', command], {
    stdout: 'pipe',
    stderr: 'inherit',
  });
  const printed = await new Response(psql.stdout).text();
  if ((await psql.exited) !== 0) throw new Error(`psql failed: ${command}`);
  return Number(/COPY (\d+)/.exec(printed)?.[1]);
}
