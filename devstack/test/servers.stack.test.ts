// Proves that the servers are real, keep their data when killed, and leave nothing behind.
import { afterAll, beforeAll, describe, expect, test } from 'bun:test';
import { chmodSync, mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import {
  createTopics,
  type Kafka,
  type Mlflow,
  type Postgres,
  startKafka,
  startMlflow,
  startPostgres,
  topicRanges,
} from '../src/index.ts';
import { isRunning } from '../src/process-tree.ts';

const frozenMs = 1_000;
const pollIntervalMs = 20;

describe('Kafka', () => {
  let kafka: Kafka;
  beforeAll(async () => {
    kafka = await startKafka();
    await createTopics(kafka, [{ name: 'readings', partitions: 3 }]);
  });
  afterAll(() => kafka.stop());

  test('makes topics with the partitions asked for, and takes it that one is there already', async () => {
    await createTopics(kafka, [{ name: 'readings', partitions: 3 }]);
    const ranges = await topicRanges(kafka, 'readings');
    expect(ranges.map(({ partition }) => partition)).toEqual([0, 1, 2]);
    expect(ranges.every(({ start, end }) => start === 0n && end === 0n)).toBe(true);
  });

  test('keeps port and topics when killed and started again', async () => {
    const before = { brokers: kafka.brokers, pid: kafka.pid };
    await kafka.kill9();
    expect(kafka.isRunning).toBe(false);
    await kafka.start();
    expect(kafka.brokers).toBe(before.brokers);
    expect(kafka.pid).not.toBe(before.pid);
    expect(await topicRanges(kafka, 'readings')).toHaveLength(3);
  });

  test('answers nobody while frozen, and goes on when thawed', async () => {
    kafka.freeze();
    const ranges = topicRanges(kafka, 'readings');
    expect(await Promise.race([ranges, Bun.sleep(frozenMs)])).toBeUndefined();
    kafka.thaw();
    expect(await ranges).toHaveLength(3);
  });
});

describe('PostgreSQL', () => {
  let postgres: Postgres;
  beforeAll(async () => {
    postgres = await startPostgres({ settings: { max_connections: 17 } });
  });
  afterAll(() => postgres.stop());

  test('syncs to disk, and takes settings', async () => {
    expect(await postgres.sql('show fsync')).toBe('on');
    expect(await postgres.sql('show synchronous_commit')).toBe('on');
    expect(await postgres.sql('show max_connections')).toBe('17');
  });

  test('keeps port and committed rows when all its processes are killed and it is started again', async () => {
    await postgres.sql('create table kept (value integer); insert into kept values (42)');
    const { url } = postgres;
    const pids = postgres.pids();
    expect(pids.length).toBeGreaterThan(1);
    await postgres.kill9();
    for (const pid of pids) expect(isRunning(pid)).toBe(false);
    await postgres.start();
    expect(postgres.url).toBe(url);
    expect(await postgres.sql('select value from kept')).toBe('42');
  });

  test('answers nobody while frozen, and goes on when thawed', async () => {
    postgres.freeze();
    const answer = postgres.sql('select 1');
    expect(await Promise.race([answer, Bun.sleep(frozenMs)])).toBeUndefined();
    postgres.thaw();
    expect(await answer).toBe('1');
  });

  test('says in its own words what is wrong with a statement', async () => {
    await expect(postgres.sql('select nonsense')).rejects.toThrow('column "nonsense" does not exist');
  });
});

describe('MLflow', () => {
  let postgres: Postgres;
  let mlflow: Mlflow;
  beforeAll(async () => {
    postgres = await startPostgres();
    mlflow = await startMlflow({ databaseUrl: postgres.url });
  });
  afterAll(async () => {
    await mlflow.stop();
    await postgres.stop();
  });

  test('keeps port and models when killed and started again', async () => {
    expect(await modelNames()).toEqual([]);
    const made = await ask('create', { method: 'POST', body: JSON.stringify({ name: 'kept' }) });
    expect(made.status).toBe(200);
    const { url, pid } = mlflow;
    await mlflow.kill9();
    expect(isRunning(pid)).toBe(false);
    await mlflow.start();
    expect(mlflow.url).toBe(url);
    expect(await modelNames()).toEqual(['kept']);
    expect(await postgres.sql('select name from registered_models')).toBe('kept');
  });

  test('answers nobody while frozen, and goes on when thawed', async () => {
    mlflow.freeze();
    const names = modelNames();
    expect(await Promise.race([names, Bun.sleep(frozenMs)])).toBeUndefined();
    mlflow.thaw();
    expect(await names).toContain('kept');
  });

  async function modelNames(): Promise<string[]> {
    const answer = (await (await ask('search')).json()) as { registered_models?: { name: string }[] };
    return (answer.registered_models ?? []).map(({ name }) => name);
  }

  function ask(what: string, init: RequestInit = {}): Promise<Response> {
    const headers = { 'content-type': 'application/json' };
    return fetch(`${mlflow.url}/api/2.0/mlflow/registered-models/${what}`, { ...init, headers });
  }
});

describe('nothing is left behind', () => {
  const library = JSON.stringify(join(import.meta.dir, '..', 'src', 'index.ts'));
  const onlyPostgres = 'startPostgres()';
  const both = 'startPostgres(), startKafka({ heapMb: 256 })';
  const forever = 'await Bun.sleep(600_000)';
  const freeze = 'for (const server of servers) server.freeze();';
  const endings: { how: string; servers: string; code: string; signal?: NodeJS.Signals }[] = [
    { how: 'stop()', servers: both, code: 'await Promise.all(servers.map((server) => server.stop()))' },
    { how: 'the end of the program', servers: onlyPostgres, code: '' },
    { how: 'process.exit()', servers: onlyPostgres, code: 'process.exit(3)' },
    { how: 'an uncaught error', servers: onlyPostgres, code: 'throw new Error("on purpose")' },
    { how: 'Ctrl-C', servers: onlyPostgres, code: forever, signal: 'SIGINT' },
    { how: 'SIGTERM', servers: onlyPostgres, code: forever, signal: 'SIGTERM' },
    { how: 'kill -9', servers: both, code: forever, signal: 'SIGKILL' },
    { how: 'kill -9 of the owner of MLflow', servers: 'startMlflow()', code: forever, signal: 'SIGKILL' },
    { how: 'kill -9 with frozen servers', servers: both, code: freeze + forever, signal: 'SIGKILL' },
  ];

  let folder = '';
  beforeAll(() => {
    folder = mkdtempSync(join(tmpdir(), 'lonetree-endings-'));
    chmodSync(folder, 0o755); // PostgreSQL's user must get through
  });
  afterAll(() => rmSync(folder, { recursive: true }));

  test.each(endings)('after $how', async ({ servers, code, signal }) => {
    const script = `
      import { startKafka, startMlflow, startPostgres } from ${library};
      const servers = await Promise.all([${servers}]);
      console.log(JSON.stringify(servers.flatMap((server) => server.pids())));
      ${code}`;
    const parent = Bun.spawn([process.execPath, '-e', script], {
      env: { ...process.env, TMPDIR: folder },
      stdin: 'ignore',
      stdout: 'pipe',
      stderr: 'ignore',
    });
    const pids = JSON.parse(await firstLine(parent.stdout)) as number[];
    expect(pids.length).toBeGreaterThan(1);
    expect(readdirSync(folder).length).toBeGreaterThan(0);
    if (signal !== undefined) parent.kill(signal);
    await parent.exited;
    while (pids.some(isRunning) || readdirSync(folder).length > 0) await Bun.sleep(pollIntervalMs);
  });
});

async function firstLine(stream: ReadableStream<Uint8Array>): Promise<string> {
  let text = '';
  for await (const chunk of stream) {
    text += Buffer.from(chunk).toString();
    if (text.includes('\n')) break;
  }
  return text.slice(0, text.indexOf('\n'));
}
