// The servers that are measured with: a broker filled by the simulator, a database, and how far a group has stored.
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { createTopics, projectFolder, startKafka, startPostgres, topicRanges } from '@lonetree/devstack';
import postgres, { type Sql } from 'postgres';

export type BenchStack = {
  readonly brokers: string;
  readonly databaseUrl: string;
  readonly pids: { readonly kafka: number; readonly postgres: number };
  readonly sql: Sql;
  /** Sends readings, with more arguments of the simulator; answers how many it sent. */
  send(args: readonly string[]): Promise<number>;
  /** Messages of the topic. */
  sentMessages(): Promise<number>;
  /** Messages up to the group's positions; 0 before there are tables. */
  storedMessages(group: string): Promise<number>;
  stop(): Promise<void>;
};

/** PostgreSQL's code for it. */
const undefinedTable = '42P01';

export async function startBenchStack(options: {
  readonly batch: number;
  readonly partitions: number;
  readonly compression: string;
}): Promise<BenchStack> {
  const [kafka, database] = await Promise.all([startKafka({ heapMb: 1_024 }), startPostgres()]);
  await createTopics(kafka, [
    {
      name: 'readings',
      partitions: options.partitions,
      settings: { 'compression.type': options.compression },
    },
    { name: 'anomalies', partitions: 3 },
    { name: 'readings.dead-letter', partitions: 1 },
  ]);
  const sql = postgres(database.url, { max: 1, onnotice() {} });
  return {
    brokers: kafka.brokers,
    databaseUrl: database.url,
    pids: { kafka: kafka.pid, postgres: database.pid },
    sql,
    async send(args) {
      const program = [process.execPath, join('simulator', 'src', 'main.ts'), '--to', 'kafka'];
      const child = Bun.spawn(
        [
          ...program,
          '--brokers',
          kafka.brokers,
          '--stations',
          '100',
          '--batch',
          String(options.batch),
          ...args,
        ],
        { cwd: projectFolder, stdin: 'ignore', stdout: 'pipe', stderr: 'pipe' },
      );
      const end = () => child.kill('SIGKILL');
      process.once('exit', end);
      const [summary, complaints] = await Promise.all([
        new Response(child.stdout).text(),
        new Response(child.stderr).text(),
      ]);
      process.off('exit', end);
      if ((await child.exited) !== 0)
        throw new Error(`The simulator ended with ${child.exitCode}:\n${complaints}`);
      return (JSON.parse(summary) as { readings: number }).readings;
    },
    async sentMessages() {
      const ranges = await topicRanges(kafka, 'readings');
      return ranges.reduce((sum, { end }) => sum + Number(end), 0);
    },
    async storedMessages(group) {
      const [row] = await sql`select coalesce(sum(next_offset), 0)::float8 as messages from consumer_offset
        where consumer = ${group}`.catch((error: { readonly code?: string }) => {
        if (error.code === undefinedTable) return [];
        throw error;
      });
      return (row?.messages as number | undefined) ?? 0;
    },
    async stop() {
      await sql.end();
      await Promise.all([kafka.stop(), database.stop()]);
    },
  };
}

/** Megabytes that the process holds, as Linux counts them. */
export function residentMb(pid: number): number {
  const status = readFileSync(`/proc/${pid}/status`, 'utf8');
  return Number(/VmRSS:\s+(\d+)/.exec(status)?.[1] ?? 0) / 1_024;
}
