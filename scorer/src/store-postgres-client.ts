// Connections to PostgreSQL that end what hangs, and are replaced whole after any failure.
import postgres, { type ReservedSql, type Sql } from 'postgres';

export type ClientOptions = {
  readonly url: string;
  readonly applicationName: string;
  readonly connectionCount: number;
  readonly connectTimeoutMs: number;
  /** What takes longer has failed. */
  readonly deadlineMs: number;
  /** Settings of each session, beside the time-outs. */
  readonly session?: Readonly<Record<string, string | number>>;
};

export type Client = {
  /**
   * Runs work under the deadline. On failure all connections are replaced: a transaction may still be under way on the old
   * ones, and late statements of a failed one would run inside the next transaction of a connection that is used again.
   */
  run<T>(work: (sql: Sql) => Promise<T>): Promise<T>;
  /** The same on a connection of its own, on which statements may go out without waiting for one another. */
  runAlone<T>(work: (connection: ReservedSql) => Promise<T>): Promise<T>;
  close(): Promise<void>;
};

const closing = 'The connections to PostgreSQL are closed.';
/** A server that does not say goodbye within this time is left as it is. */
const farewellMs = 500;

export function createClient(options: ClientOptions): Client {
  const { deadlineMs } = options;
  const { promise: closed, reject: endWork } = Promise.withResolvers<never>();
  closed.catch(() => {}); // Whoever has work under way sees it.
  let isClosed = false;
  let sql = open();
  /** Connections of `sql` that were reserved before, and that nobody uses. */
  let idle: ReservedSql[] = [];

  function open(): Sql {
    const opened = connect(options, () => renew(opened));
    return opened;
  }

  /**
   * A reserved connection that was closed while nobody used it would throw where nobody catches when it is used again, and
   * the client does not tell which one it was. What is under way on the others ends on them.
   */
  function renew(used: Sql): void {
    if (sql !== used || isClosed || idle.length === 0) return;
    sql = open();
    idle = [];
    used.end({ timeout: deadlineMs / 1_000 }).catch(() => {}); // It is given up; how it ends does not matter.
  }

  async function run<T>(work: (sql: Sql) => Promise<T>): Promise<T> {
    if (isClosed) throw new Error(closing);
    const used = sql;
    const { promise: deadline, reject } = Promise.withResolvers<never>();
    const timer = setTimeout(
      () => reject(new Error(`PostgreSQL did not answer within ${deadlineMs} ms.`)),
      deadlineMs,
    );
    try {
      return await Promise.race([work(used), deadline, closed]);
    } catch (error) {
      if (sql === used && !isClosed) {
        sql = open();
        idle = [];
        used.end({ timeout: 0 }).catch(() => {}); // It is given up; how it ends does not matter.
      }
      throw error;
    } finally {
      clearTimeout(timer);
    }
  }

  return {
    run,
    runAlone: (work) =>
      run(async (used) => {
        const connection = idle.pop() ?? (await reserve(used));
        const result = await work(connection);
        if (sql === used && !isClosed) idle.push(connection);
        return result;
      }),
    async close() {
      if (isClosed) return;
      isClosed = true;
      endWork(new Error(closing));
      for (const connection of idle) connection.release(); // The end would wait for them.
      await sql.end({ timeout: farewellMs / 1_000 });
    },
  };
}

/** The client forgets to hand out a connection that it has to open first: a query opens it. */
async function reserve(sql: Sql): Promise<ReservedSql> {
  await sql`select 1`;
  return await sql.reserve();
}

function connect(options: ClientOptions, onclose: () => void): Sql {
  return postgres(options.url, {
    max: options.connectionCount,
    backoff: () => 0.2, // seconds; the default grows to 20 and delays recovery
    connect_timeout: options.connectTimeoutMs / 1_000,
    fetch_types: false, // saves a round trip, and an unhandled rejection when a connection is lost in it
    onnotice: () => {},
    onclose,
    connection: {
      application_name: options.applicationName,
      // On the server's side: a scorer that is frozen must not hold a lock for longer than others wait for it.
      statement_timeout: options.deadlineMs,
      idle_in_transaction_session_timeout: options.deadlineMs,
      ...options.session,
    },
  });
}
