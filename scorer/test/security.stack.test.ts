// A scorer whose Kafka wants TLS and a login, and whose PostgreSQL wants TLS and a password: what is right works, what is wrong is
// said.
import { afterAll, beforeAll, expect, test } from 'bun:test';
import {
  chmodSync,
  chownSync,
  copyFileSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import {
  createTopics,
  ensurePackages,
  type Kafka,
  type Postgres,
  projectFolder,
  projectTopics,
  startKafka,
  startPostgres,
} from '@lonetree/devstack';
import { Kafka as KafkaClient, logLevel } from 'kafkajs';

const deadlineMs = 60_000;
const login = { username: 'scorer', password: 'only-for-this-test' };
const folder = mkdtempSync(join(tmpdir(), 'lonetree-security-'));
const file = (name: string) => join(folder, name);
let kafka: Kafka;
let database: Postgres;
const scorers: ReturnType<typeof Bun.spawn>[] = [];

async function openssl(...args: string[]): Promise<void> {
  const { exitCode, stderr } = Bun.spawnSync(['openssl', ...args], { cwd: folder });
  if (exitCode !== 0) throw new Error(stderr.toString());
}

/** An authority, and a certificate of it for this machine's loopback address. */
async function makeCertificates(): Promise<void> {
  await ensurePackages({
    what: 'openssl',
    packages: ['openssl'],
    isThere: () => Bun.which('openssl') !== null,
  });
  const key = ['-newkey', 'rsa:2048', '-nodes'];
  await openssl(
    'req',
    '-x509',
    ...key,
    '-keyout',
    'ca.key',
    '-out',
    'ca.pem',
    '-days',
    '2',
    '-subj',
    '/CN=test',
  );
  await openssl('req', ...key, '-keyout', 'server.key', '-out', 'server.csr', '-subj', '/CN=server');
  writeFileSync(file('san'), 'subjectAltName=IP:127.0.0.1,DNS:localhost\n');
  const sign = ['x509', '-req', '-in', 'server.csr', '-CA', 'ca.pem', '-CAkey', 'ca.key', '-CAcreateserial'];
  await openssl(...sign, '-out', 'server.pem', '-days', '2', '-extfile', 'san');
  writeFileSync(
    file('kafka.pem'),
    readFileSync(file('server.key'), 'utf8') + readFileSync(file('server.pem'), 'utf8'),
  );
}

/** PostgreSQL reads its key only when nobody else can. */
function giveToPostgres(name: string): string {
  const path = file(`postgres-${name}`);
  copyFileSync(file(name), path);
  chmodSync(path, 0o600);
  if (process.getuid?.() === 0) {
    const [uid, gid] = ['-u', '-g'].map((which) =>
      Number(Bun.spawnSync(['id', which, 'postgres']).stdout.toString()),
    );
    chownSync(path, uid as number, gid as number);
  }
  return path;
}

beforeAll(async () => {
  await makeCertificates();
  chmodSync(folder, 0o755);
  writeFileSync(
    file('hba'),
    'host all postgres 127.0.0.1/32 trust\nhostssl all scorer 127.0.0.1/32 scram-sha-256\n',
  );
  [kafka, database] = await Promise.all([
    startKafka({ secure: { keyFile: file('kafka.pem'), ...login } }),
    startPostgres({
      settings: {
        ssl: 'on',
        ssl_cert_file: giveToPostgres('server.pem'),
        ssl_key_file: giveToPostgres('server.key'),
        hba_file: giveToPostgres('hba'),
      },
    }),
  ]);
  await createTopics(kafka, projectTopics);
  await database.sql(`create role ${login.username} login password '${login.password}'`);
  await database.sql(`grant all on database postgres to ${login.username}`);
  await database.sql(`grant all on schema public to ${login.username}`);
}, 300_000);

afterAll(async () => {
  for (const scorer of scorers) scorer.kill('SIGKILL');
  await Promise.all([kafka.stop(), database.stop()]);
  rmSync(folder, { recursive: true });
}, 60_000);

const secureKafka = (mechanism: string, changes: Record<string, string> = {}) => ({
  KAFKA_BROKERS: kafka.secureBrokers as string,
  KAFKA_SSL: 'true',
  KAFKA_SSL_CA_FILE: file('ca.pem'),
  KAFKA_SASL_MECHANISM: mechanism,
  KAFKA_SASL_USERNAME: login.username,
  KAFKA_SASL_PASSWORD: login.password,
  ...changes,
});
const secureDatabase = (query: string, password = login.password) => {
  const { host } = new URL(database.url);
  return `postgres://${login.username}:${password}@${host}/postgres${query}`;
};

/** A scorer as a process of its own, with what it writes. */
function start(environment: Record<string, string>) {
  const child = Bun.spawn([process.execPath, join(projectFolder, 'scorer', 'src', 'main.ts')], {
    env: { ...process.env, PORT: '0', LOG_LEVEL: 'info', DATA_DIR: file('data'), ...environment },
    stdin: 'ignore',
    stdout: 'ignore',
    stderr: 'pipe',
  });
  scorers.push(child);
  const said = { text: '' };
  void (async () => {
    for await (const chunk of child.stderr.pipeThrough(new TextDecoderStream())) said.text += chunk;
  })();
  const stop = async () => {
    child.kill('SIGTERM');
    return await child.exited;
  };
  return { said, stop };
}

async function until(what: string, said: { readonly text: string }, isSo: () => Promise<boolean> | boolean) {
  const end = performance.now() + deadlineMs;
  while (!(await isSo())) {
    if (performance.now() > end) throw new Error(`waited in vain: ${what}\n${said.text}`);
    await Bun.sleep(50);
  }
}

async function send(station: string): Promise<void> {
  const producer = new KafkaClient({ brokers: [kafka.brokers], logLevel: logLevel.NOTHING }).producer();
  await producer.connect();
  const value = JSON.stringify({ station, values: { temperature: 28.7, humidity: 17.5, sound: 54.1 } });
  await producer.send({ topic: 'readings', messages: [{ value }] });
  await producer.disconnect();
}

const storedOf = async (station: string) =>
  (await database.sql("select to_regclass('prediction') is not null")) === 't' &&
  (await database.sql(`select count(*) from prediction where station = '${station}'`)) === '1';

test.each(['plain', 'scram-sha-256', 'scram-sha-512'])('TLS and a login by %s', async (mechanism) => {
  await send(mechanism);
  const { said, stop } = start({
    ...secureKafka(mechanism),
    DATABASE_URL: secureDatabase('?sslmode=require'),
  });
  await until('the reading is stored', said, () => storedOf(mechanism));
  const encrypted = await database.sql(
    `select count(*) > 0, bool_and(ssl) from pg_stat_ssl join pg_stat_activity using (pid) where usename = 'scorer'`,
  );
  expect(encrypted).toBe('t|t');
  expect(await stop()).toBe(0);
  expect(said.text).not.toContain(login.password);
});

test('a database whose certificate is checked', async () => {
  await send('checked');
  const environment = { ...secureKafka('plain'), DATABASE_URL: secureDatabase('?sslmode=verify-full') };
  const unknown = start(environment);
  await until('the authority is not known', unknown.said, () => /certificate/.test(unknown.said.text));
  expect(await storedOf('checked')).toBe(false);
  await unknown.stop();
  const known = start({ ...environment, NODE_EXTRA_CA_CERTS: file('ca.pem') });
  await until('the reading is stored', known.said, () => storedOf('checked'));
  expect(await known.stop()).toBe(0);
});

test.each([
  [
    'a password that Kafka refuses',
    () => secureKafka('plain', { KAFKA_SASL_PASSWORD: 'wrong-one' }),
    /uthentication failed/,
  ],
  [
    'a user whom Kafka does not know',
    () => secureKafka('scram-sha-256', { KAFKA_SASL_USERNAME: 'nobody' }),
    /uthentication/,
  ],
  [
    'an authority that is not known',
    () => secureKafka('plain', { KAFKA_SSL_CA_FILE: file('server.pem') }),
    /certificate/,
  ],
  [
    'TLS that is not switched on',
    () => secureKafka('plain', { KAFKA_SSL: 'false', KAFKA_SSL_CA_FILE: '' }),
    /Closed connection/,
  ],
])('%s is said', async (_, environment, pattern) => {
  const { said, stop } = start({ ...environment(), DATABASE_URL: database.url });
  await until('it is said', said, () => pattern.test(said.text));
  await stop();
  expect(said.text).not.toContain('wrong-one');
});

test('a password that PostgreSQL refuses is said', async () => {
  const { said, stop } = start({
    ...secureKafka('plain'),
    DATABASE_URL: secureDatabase('?sslmode=require', 'wrong-one'),
  });
  await until('it is said', said, () => /password authentication failed/.test(said.text));
  await stop();
  expect(said.text).not.toContain('wrong-one');
});
