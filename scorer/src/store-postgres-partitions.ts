// Day partitions, made ahead of time, so that each day's rows can be dropped as one file.
import type { Sql, TransactionSql } from 'postgres';

const dayMs = 86_400_000;
const tables = ['prediction', 'shadow_score'] as const;
type DayTable = (typeof tables)[number];
/** More rows of one day than this stay in the default partition: moving them would keep others waiting. */
const movedRowsMax = 500_000;
const lockNotAvailable = '55P03';

/** Whoever makes partitions or changes tables holds this advisory lock. No other program on the database may use it. */
export const schemaLock = 7_305_114;

/** Partitions for yesterday, today and the days ahead. Scorers that meet here take turns. */
export async function createDayPartitions(db: Sql, nowMs: number, daysAhead: number): Promise<void> {
  const today = Math.floor(nowMs / dayMs);
  for (const table of tables) {
    for (let day = today - 1; day <= today + daysAhead; day += 1) await createDayPartition(db, table, day);
  }
}

/**
 * Tells the index of times about rows that are new: until then a query reads them all. PostgreSQL does it by itself only
 * when it cleans up, which may be late under load.
 */
export async function indexNewTimes(db: Sql): Promise<void> {
  try {
    await db`select brin_summarize_new_values(inhrelid) from pg_inherits
      where inhparent in ('prediction_time'::regclass, 'shadow_score_time'::regclass)`;
  } catch (error) {
    // Another scorer or PostgreSQL itself is at it.
    if ((error as { code?: string }).code !== lockNotAvailable) throw error;
  }
}

/**
 * Rows of that day may have come before their partition: they lie in the default one and move with it, in one
 * transaction. A scorer that stores such a reading at this moment fails, and tries again.
 */
async function createDayPartition(db: Sql, table: DayTable, day: number): Promise<void> {
  const from = new Date(day * dayMs).toISOString();
  const to = new Date((day + 1) * dayMs).toISOString();
  const name = `${table}_${from.slice(0, 10).replaceAll('-', '')}`;
  // Not by to_regclass: what it remembers to be absent may have been made by another session meanwhile.
  const isThere = async (sql: Sql | TransactionSql) => {
    const [row] = await sql`select from pg_inherits join pg_class on pg_class.oid = inhrelid
      where inhparent = ${table}::regclass and relname = ${name}`;
    return row !== undefined;
  };
  if (await isThere(db)) return;
  await db.begin(async (tx) => {
    await tx`select pg_advisory_xact_lock(${schemaLock})`;
    if (await isThere(tx)) return;
    await tx`lock table ${tx(`${table}_default`)} in access exclusive mode`;
    const [waiting] = await tx`select count(*)::int as rows from
      (select from ${tx(`${table}_default`)} where time >= ${from} and time < ${to} limit ${movedRowsMax + 1}) as row`;
    if (waiting?.rows > movedRowsMax) return;
    // Names and times are ours alone: nothing of them comes from outside.
    await tx.unsafe(`
      create table ${name} (like ${table} including all);
      with moved as (delete from ${table}_default where time >= '${from}' and time < '${to}' returning *)
        insert into ${name} select * from moved;
      alter table ${table} attach partition ${name} for values from ('${from}') to ('${to}');
    `);
  });
}
