// The log as a table of the embedded SQLite file: one partition, one reader, every message synced to disk.
import { type BlockHandlers, type Broker, type Message, NothingPublished, type Outgoing } from './broker.ts';
import type { Database } from './sqlite.ts';

export type SqliteBrokerOptions = {
  readonly database: Database;
  readonly topic: string;
  /** Most messages and bytes of one block; a larger message is a block of its own. */
  readonly blockMessagesMax: number;
  readonly blockSizeMax: number;
  readonly now: () => number;
};

const onlyPartition = 0;
const utf8 = new TextEncoder();

type LogRow = {
  readonly offset: number;
  readonly time_ms: number;
  readonly key: Uint8Array | null;
  readonly value: Uint8Array | null;
  readonly headers: string;
};

type Publication = {
  readonly to: string;
  readonly messages: readonly Outgoing[];
  readonly resolve: () => void;
  readonly reject: (error: unknown) => void;
};

export function createSqliteBroker({
  database,
  topic,
  blockMessagesMax,
  blockSizeMax,
  now,
}: SqliteBrokerOptions): Broker {
  const readLog = database.query(
    'select "offset", time_ms, key, value, headers from log where topic = ? and "offset" >= ? order by "offset" limit ?',
  );
  const readStart = database.query('select min("offset") as start from log where topic = ?');
  // Apart from the messages: an offset is never given twice, even when all of them have been deleted.
  const readEnd = database.query('select next_offset as end from log_end where topic = ?');
  const takeOffsets = database.query(
    'insert into log_end values (?, ?) on conflict do update set next_offset = next_offset + excluded.next_offset returning next_offset as end',
  );
  const append = database.query(
    'insert into log (topic, "offset", time_ms, key, value, headers) values (?, ?, ?, ?, ?, ?)',
  );
  let isCommitting = false;
  const appendAll = database.transaction((publications: readonly Publication[]) => {
    const timeMs = now();
    for (const { to, messages } of publications) {
      const { end } = takeOffsets.get(to, messages.length) as { end: number };
      for (const [index, { key, value, headers }] of messages.entries()) {
        const keyBytes = typeof key === 'string' ? utf8.encode(key) : key;
        append.run(to, end - messages.length + index, timeMs, keyBytes, value, JSON.stringify(headers ?? {}));
      }
    }
    isCommitting = true;
  });

  let waiting: Publication[] = [];
  let fetchFrom: bigint | undefined;
  let isClosed = false;
  let loop: Promise<void> = Promise.resolve();
  let wake = () => {};
  const { promise: left, reject: leave } = Promise.withResolvers<never>();
  left.catch(() => {}); // It is no error when nobody waits for it.

  /** Takes all that was published since the last time in one transaction: a sync to the disk is what costs. */
  function appendWaiting(): void {
    const publications = waiting;
    waiting = [];
    isCommitting = false;
    try {
      appendAll.immediate(publications);
    } catch (cause) {
      // A commit that failed on the disk may be there after a power cut; what failed before it is rolled back.
      const error = isCommitting
        ? cause
        : new NothingPublished(`the log cannot be written: ${(cause as Error).message}`, { cause });
      for (const { reject } of publications) reject(error);
      return;
    }
    for (const { resolve } of publications) resolve();
    if (publications.some(({ to }) => to === topic)) wake();
  }

  /** Rejects only when the file cannot be read any more, and then the process has to end. */
  async function deliver(handlers: BlockHandlers): Promise<void> {
    handlers.assigned([onlyPartition]);
    while (!isClosed) {
      const from = fetchFrom;
      const messages = from === undefined ? [] : fetch(from);
      const last = messages.at(-1);
      if (from === undefined || last === undefined) {
        // Nothing waits between the look into the log and here: no call of `wake` is missed.
        await new Promise<void>((resolve) => {
          wake = resolve;
        });
        continue;
      }
      const next = BigInt(last.offset + 1);
      const isStored = await handlers.block({ partition: onlyPartition, from, next, messages }, left);
      if (isStored) fetchFrom = next;
      // SQLite makes nobody wait: timers and requests have their turn between two blocks.
      await new Promise((resolve) => setImmediate(resolve));
    }
  }

  function fetch(from: bigint): Message[] {
    const messages: Message[] = [];
    let size = 0;
    for (const row of readLog.iterate(topic, from, blockMessagesMax) as Iterable<LogRow>) {
      size += row.value?.length ?? 0;
      if (messages.length > 0 && size > blockSizeMax) break;
      const headers = readHeaders(row.headers);
      messages.push({
        offset: row.offset,
        timeMs: row.time_ms,
        key: row.key,
        value: row.value,
        contentType: headers['content-type'] ?? null,
        headers,
      });
    }
    return messages;
  }

  return {
    consume(handlers) {
      loop = deliver(handlers);
      return Promise.resolve();
    },
    seek(_, offset) {
      fetchFrom = offset;
      wake();
    },
    watermarks() {
      const end = (readEnd.get(topic) as { end: number } | null)?.end ?? 0;
      const { start } = readStart.get(topic) as { start: number | null };
      return Promise.resolve({ start: BigInt(start ?? end), end: BigInt(end) });
    },
    publish: (to, messages) =>
      new Promise((resolve, reject) => {
        waiting.push({ to, messages, resolve, reject });
        if (waiting.length === 1) setImmediate(appendWaiting);
      }),
    reportPosition() {},
    isReady: () => !isClosed,
    async close() {
      isClosed = true;
      leave(new Error('the log is being closed'));
      wake();
      await loop;
      if (waiting.length > 0) appendWaiting();
    },
  };
}

function readHeaders(text: string): Message['headers'] {
  if (text === '{}') return {};
  const headers = JSON.parse(text) as Record<string, string>;
  return Object.fromEntries(Object.entries(headers).map(([name, value]) => [name, utf8.encode(value)]));
}
