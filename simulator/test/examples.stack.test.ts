// docs/SENDING_DATA.md does what it says: every command in it is run against a real scorer, Kafka and PostgreSQL.
import { afterAll, beforeAll, expect, test } from 'bun:test';
import { mkdtempSync, readFileSync, rmSync, symlinkSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';
import { fromBinary } from '@bufbuild/protobuf';
import {
  createTopics,
  ensureUv,
  freePort,
  type Kafka,
  type Postgres,
  projectFolder,
  projectTopics,
  startKafka,
  startPostgres,
  startScorer,
} from '@lonetree/devstack';
import { DeadLetterSchema } from '@lonetree/proto';
import { Kafka as KafkaClient, logLevel } from 'kafkajs';
import postgres from 'postgres';

const deadlineMs = 60_000;
const document = readFileSync(join(projectFolder, 'docs', 'SENDING_DATA.md'), 'utf8');
/** The document's blocks in one language, in their order. */
const blocks = (language: string) =>
  [...document.matchAll(new RegExp(`^\`\`\`${language}\\n(.*?)^\`\`\``, 'gms'))].map(
    ([, text]) => text ?? '',
  );

// Commands are run where they would be, but for what they write.
const folder = mkdtempSync(join(tmpdir(), 'lonetree-sending-'));
let kafka: Kafka;
let database: Postgres;
let url: string;
let uvFolder: string;
/** Whatever has been started; ended in the opposite order. */
const running: { stop(): Promise<unknown> }[] = [];

beforeAll(async () => {
  for (const name of ['simulator', 'proto', 'node_modules', 'buf.yaml'])
    symlinkSync(join(projectFolder, name), join(folder, name));
  [kafka, database, uvFolder] = await Promise.all([startKafka(), startPostgres(), ensureUv()]);
  running.push(kafka, database);
  await createTopics(kafka, projectTopics);
  const port = freePort();
  url = `http://127.0.0.1:${port}`;
  const environment = { PORT: String(port) };
  running.push(startScorer({ brokers: kafka.brokers, databaseUrl: database.url, environment }));
  await until(
    'the scorer is ready',
    async () => (await fetch(`${url}/readyz`).catch(() => null))?.ok === true,
  );
}, 300_000);

afterAll(async () => {
  for (const server of running.reverse()) await server.stop();
  rmSync(folder, { recursive: true });
}, 60_000);

async function until(what: string, isSo: () => Promise<boolean>): Promise<void> {
  const end = performance.now() + deadlineMs;
  while (!(await isSo())) {
    if (performance.now() > end) throw new Error(`waited in vain: ${what}`);
    await Bun.sleep(50);
  }
}

async function runCommand(command: string): Promise<string> {
  const child = Bun.spawn(['bash', '-euo', 'pipefail', '-c', command], {
    cwd: folder,
    env: {
      ...process.env,
      KAFKA_BROKERS: kafka.brokers,
      SCORER: url,
      PATH: [join(uvFolder, 'bin'), join(projectFolder, 'node_modules', '.bin'), process.env.PATH].join(
        delimiter,
      ),
    },
    stdin: 'ignore',
    stdout: 'pipe',
    stderr: 'pipe',
  });
  const [stdout, stderr] = await Promise.all([child.stdout.text(), child.stderr.text(), child.exited]);
  expect({ command, exitCode: child.exitCode, output: child.exitCode === 0 ? '' : stdout + stderr }).toEqual({
    command,
    exitCode: 0,
    output: '',
  });
  return stdout;
}

async function send(values: readonly string[]): Promise<void> {
  const producer = new KafkaClient({ brokers: [kafka.brokers], logLevel: logLevel.NOTHING }).producer();
  await producer.connect();
  await producer.send({ topic: 'readings', messages: values.map((value) => ({ value })) });
  await producer.disconnect();
}

test(
  'every command of the document works, and what was sent is stored once',
  async () => {
    const outputs: string[] = [];
    for (const command of blocks('sh')) outputs.push(await runCommand(command));
    expect(JSON.parse(outputs.find((output) => output.includes('verdicts')) ?? '')).toMatchObject({
      verdicts: [{ isAnomaly: false }],
    });
    await send(blocks('json').flatMap((text) => text.trim().split('\n')));

    const sql = postgres(database.url, { max: 1 });
    const stored = async () =>
      Object.fromEntries(
        (await sql`select station, count(*)::int as count from prediction group by 1 order by 1`).map(
          ({ station, count }) => [station, count],
        ),
      );
    // What went to /v1/score alone is not among them.
    const wanted = {
      'press-curl': 1,
      'press-flat': 1,
      'press-http': 2,
      'press-json': 1,
      'press-py': 2,
      'press-ts': 2,
    };
    await until(
      'all are stored',
      async () => Object.keys(await stored()).length === Object.keys(wanted).length,
    );
    expect(await stored()).toEqual(wanted);
    const [missing] = await sql`select "values" from prediction where station = 'press-json'`;
    expect(missing?.values).toEqual([expect.closeTo(28.7, 4), expect.closeTo(17.5, 4), Number.NaN]);
    await sql.end();
  },
  deadlineMs * 2,
);

test('what cannot be scored becomes a dead letter with its reason, and the next message is stored', async () => {
  const bad = '{"station": "press-bad", "values": {"temperature": 28.7}}';
  const good = '{"station": "press-next", "temperature": 28.7, "humidity": 17.5, "sound": 54.1}';
  await send([bad, good]);
  const consumer = new KafkaClient({ brokers: [kafka.brokers], logLevel: logLevel.NOTHING }).consumer({
    groupId: 'reads-dead-letters',
  });
  await consumer.connect();
  await consumer.subscribe({ topic: 'readings.dead-letter', fromBeginning: true });
  const { promise, resolve } = Promise.withResolvers<Uint8Array>();
  await consumer.run({
    async eachMessage({ message }) {
      resolve(message.value as Uint8Array);
    },
  });
  const letter = fromBinary(DeadLetterSchema, await promise);
  await consumer.disconnect();
  expect({ reason: letter.reason, value: Buffer.from(letter.value).toString() }).toEqual({
    reason: 'missing-feature',
    value: bad,
  });
  await until('the next is stored', async () => {
    const { items } = (await (await fetch(`${url}/v1/predictions?station=press-next`)).json()) as {
      items: object[];
    };
    return items.length === 1;
  });
});
