// A load that goes on for minutes: is every row there, and does memory stay where it is?
import type { ScorerProcess } from '@lonetree/devstack';
import { type BenchStack, residentMb } from './bench-stack.ts';

export type Soak = {
  readonly readings: number;
  readonly rows: number;
  readonly scorerMbByMinute: readonly number[];
};

const group = 'scorer';
const pollMs = 250;
/** No disk holds what a soak stores: from so many rows on they are counted and dropped. */
const keptRowsMax = 20_000_000;
/** Blocks that are being stored have written no earlier than so many pages of 8 KiB before the end of a table. */
const openPagesMax = 32_768;

export async function soak(
  stack: BenchStack,
  options: {
    readonly scorers: readonly ScorerProcess[];
    readonly batch: number;
    readonly minutes: number;
    readonly readingsPerSecond: number;
  },
): Promise<Soak> {
  const { scorers, minutes, readingsPerSecond } = options;
  const load = stack.send(['--rate', String(readingsPerSecond), '--duration', `${minutes}m`]);
  let isSending = true;
  void load
    .finally(() => {
      isSending = false;
    })
    .catch(() => {}); // Who awaits the load sees it.
  const scorerMbByMinute: number[] = [];
  let rows = 0;
  let droppedMessages = 0;
  let peakMb = 0;
  let minuteEndMs = performance.now() + 60_000;
  for (;;) {
    for (const scorer of scorers) scorer.checkRunning();
    peakMb = Math.max(peakMb, ...scorers.map(({ pid }) => residentMb(pid)));
    const [stored, sent] = [await stack.storedMessages(group), await stack.sentMessages()];
    const isDone = !isSending && stored >= sent;
    if (isDone || performance.now() >= minuteEndMs) {
      scorerMbByMinute.push(Math.round(peakMb));
      console.error(
        `minute ${scorerMbByMinute.length}: at most ${Math.round(peakMb)} MB, ${stored.toLocaleString('en')} messages stored, ${(sent - stored).toLocaleString('en')} waiting`,
      );
      peakMb = 0;
      minuteEndMs += 60_000;
    }
    if (isDone) break;
    if ((stored - droppedMessages) * options.batch > keptRowsMax) {
      const emptied = await countAndEmpty(stack);
      rows += emptied.rows;
      droppedMessages = emptied.messages;
    }
    await Bun.sleep(pollMs);
  }
  const [left] = await stack.sql`select count(*)::float8 as rows from prediction`;
  return { readings: await load, rows: rows + (left?.rows as number), scorerMbByMinute };
}

/**
 * Counts all rows and drops them while others are being written: most of them first, in nobody's way, the last pages when
 * nobody can write. A row that came to the first pages in between would be missed, never counted twice.
 */
async function countAndEmpty({ sql }: BenchStack): Promise<{ rows: number; messages: number }> {
  const tables = await sql`select inhrelid::regclass::text as name, pg_relation_size(inhrelid) / 8192 as pages
    from pg_inherits where inhparent = 'prediction'::regclass`;
  const borders = tables.map(({ name, pages }) => ({
    name: name as string,
    page: Math.max(Number(pages) - openPagesMax, 0),
  }));
  const count = async (db: Pick<typeof sql, 'unsafe'>, compare: '<' | '>=') => {
    let rows = 0;
    for (const { name, page } of borders) {
      const [row] = await db.unsafe(
        `select count(*)::float8 as rows from ${name} where ctid ${compare} '(${page},0)'`,
      );
      rows += row?.rows as number;
    }
    return rows;
  };
  const before = await count(sql, '<');
  const rest = await sql.begin(async (tx) => {
    await tx`lock table prediction in access exclusive mode`;
    const rows = await count(tx, '>=');
    const [stored] = await tx`select sum(next_offset)::float8 as messages from consumer_offset`;
    await tx`truncate prediction`;
    return { rows, messages: stored?.messages as number };
  });
  return { rows: before + rest.rows, messages: rest.messages };
}
