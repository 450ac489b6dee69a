// Starts a real Apache Kafka broker (one KRaft node) in a temporary folder. Needs Java 17 and, once, Maven.
import { createHash, randomBytes } from 'node:crypto';
import { existsSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { projectFolder, toolsFolder } from './folders.ts';
import { ensurePackages, run } from './install.ts';
import { withLock } from './lock.ts';
import { freePort } from './port.ts';
import { progress } from './progress.ts';
import { Server } from './server.ts';

const heapMbDefault = 512;
const messageBytesMax = 32 * 1024 * 1024;
const startDeadlineMs = 120_000;
const startTriesMax = 3;
const javaVersionMin = 17;

const sourceFolder = join(import.meta.dir, '..', 'kafka');
const pom = join(sourceFolder, 'pom.xml');
const agentRules = join(projectFolder, 'monitoring', 'kafka', 'jmx.yml');
/** Another list of jars is another folder, so that a folder that is there is the right one. */
/** Where the jars of broker, tools and JMX agent are. */
export const kafkaJarFolder = join(
  toolsFolder,
  `kafka-${createHash('sha256').update(readFileSync(pom)).digest('hex').slice(0, 12)}`,
);
/** A short-lived tool is compiled little. */
const toolOptions = ['-XX:TieredStopAtLevel=1', '-XX:+UseSerialGC'];

/** A running broker. Its port and data stay the same from `kill9` to `start`. */
export type Kafka = {
  readonly brokers: string;
  /** Where it is reached by TLS and a login; null when it is not. */
  readonly secureBrokers: string | null;
  /** host:port where it shows its figures to Prometheus; null when it does not. */
  readonly metricsAddress: string | null;
  readonly pid: number;
  readonly isRunning: boolean;
  pids(): number[];
  log(): string;
  kill9(): Promise<void>;
  start(): Promise<void>;
  freeze(): void;
  thaw(): void;
  /** Ends the broker and removes its data. */
  stop(): Promise<void>;
};

export type KafkaOptions = {
  readonly heapMb?: number;
  /** Shows its figures to Prometheus, by an agent in the broker. */
  readonly hasMetrics?: boolean;
  /** Is reached by TLS and a login too, with any of PLAIN, SCRAM-SHA-256 and SCRAM-SHA-512. */
  readonly secure?: Secure;
};
type Secure = {
  /** Private key (PKCS 8) and certificate, in one PEM file. */
  readonly keyFile: string;
  readonly username: string;
  readonly password: string;
};

export async function startKafka(options: KafkaOptions = {}): Promise<Kafka> {
  await ensureKafka();
  return await progress('Starting Kafka', async () => {
    for (let tries = 1; ; tries++) {
      try {
        return await startBroker(options);
      } catch (error) {
        // Another process may take a port between our look and the broker's.
        if (tries === startTriesMax || !/address already in use/i.test(String(error))) throw error;
      }
    }
  });
}

async function startBroker(options: KafkaOptions): Promise<Kafka> {
  const { heapMb = heapMbDefault, hasMetrics = false, secure } = options;
  const server = new Server('Kafka');
  const brokers = `127.0.0.1:${freePort()}`;
  const secureBrokers = secure === undefined ? null : `127.0.0.1:${freePort()}`;
  const properties = join(server.folder, 'server.properties');
  const metricsAddress = hasMetrics ? `127.0.0.1:${freePort()}` : null;
  const agent = metricsAddress === null ? [] : [`-javaagent:${findAgent()}=${metricsAddress}:${agentRules}`];
  const heap = [...agent, `-Xms${heapMb}m`, `-Xmx${heapMb}m`, '-XX:+UseG1GC', '-XX:MaxGCPauseMillis=20'];
  const start = async () => {
    server.launch(java(heap, 'kafka.Kafka', properties));
    await server.untilReady(() => server.log().includes('Kafka Server started'), startDeadlineMs);
  };
  try {
    const plain = brokerProperties({ brokers, controller: `127.0.0.1:${freePort()}`, folder: server.folder });
    const added = secure && secureBrokers !== null ? secureProperties(plain, secureBrokers, secure) : {};
    writeFileSync(properties, lines({ ...plain, ...added }));
    const clusterId = randomBytes(16).toString('base64url').replace(/^-/, 'A');
    const format = ['format', '-t', clusterId, '-c', properties, ...(secure ? scramUsers(secure) : [])];
    await run(java(toolOptions, 'kafka.tools.StorageTool', ...format));
    await start();
  } catch (error) {
    await server.stop();
    throw error;
  }
  return {
    brokers,
    secureBrokers,
    metricsAddress,
    start: () => progress('Starting Kafka again', start),
    get pid() {
      return server.pid;
    },
    get isRunning() {
      return server.isRunning;
    },
    pids: () => server.pids(),
    log: () => server.log(),
    kill9: () => server.kill9(),
    freeze: () => server.freeze(),
    thaw: () => server.thaw(),
    stop: () => server.stop(),
  };
}

function findAgent(): string {
  const [jar] = [
    ...new Bun.Glob('jmx_prometheus_javaagent-*.jar').scanSync({ cwd: kafkaJarFolder, absolute: true }),
  ];
  if (jar === undefined) throw new Error(`assertion failed: there is no JMX agent in ${kafkaJarFolder}`);
  return jar;
}

function java(options: readonly string[], ...program: readonly string[]): string[] {
  const logging = `-Dlog4j2.configurationFile=${join(sourceFolder, 'log4j2.properties')}`;
  return [
    'java',
    ...options,
    '-cp',
    join(kafkaJarFolder, '*'),
    '-Djava.awt.headless=true',
    logging,
    ...program,
  ];
}

const lines = (properties: Readonly<Record<string, string | number | boolean>>): string =>
  Object.entries(properties)
    .map(([key, value]) => `${key}=${value}\n`)
    .join('');

function brokerProperties(options: { brokers: string; controller: string; folder: string }) {
  const { brokers, controller, folder } = options;
  return {
    'process.roles': 'broker,controller',
    'node.id': 1,
    'controller.quorum.voters': `1@${controller}`,
    listeners: `PLAINTEXT://${brokers},CONTROLLER://${controller}`,
    'advertised.listeners': `PLAINTEXT://${brokers}`,
    'controller.listener.names': 'CONTROLLER',
    'listener.security.protocol.map': 'CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT',
    'inter.broker.listener.name': 'PLAINTEXT',
    'log.dirs': join(folder, 'data'),
    // A topic with a wrong name shall be an error, not a new topic.
    'auto.create.topics.enable': false,
    'offsets.topic.replication.factor': 1,
    'offsets.topic.num.partitions': 4,
    'transaction.state.log.replication.factor': 1,
    'transaction.state.log.min.isr': 1,
    'transaction.state.log.num.partitions': 4,
    'share.coordinator.state.topic.replication.factor': 1,
    'share.coordinator.state.topic.min.isr': 1,
    'group.initial.rebalance.delay.ms': 0,
    'message.max.bytes': messageBytesMax,
    // After kill -9 the node waits until its former self counts as gone.
    'broker.session.timeout.ms': 3000,
    'broker.heartbeat.interval.ms': 500,
  };
}

type Properties = ReturnType<typeof brokerProperties>;
function secureProperties(plain: Properties, secureBrokers: string, secure: Secure) {
  const { keyFile, username, password } = secure;
  const address = `SECURE://${secureBrokers}`;
  const listener = 'listener.name.secure';
  const login = 'org.apache.kafka.common.security';
  const scram = `${login}.scram.ScramLoginModule required;`;
  return {
    listeners: `${plain.listeners},${address}`,
    'advertised.listeners': `${plain['advertised.listeners']},${address}`,
    'listener.security.protocol.map': `${plain['listener.security.protocol.map']},SECURE:SASL_SSL`,
    'ssl.keystore.type': 'PEM',
    'ssl.keystore.location': keyFile,
    [`${listener}.sasl.enabled.mechanisms`]: 'PLAIN,SCRAM-SHA-256,SCRAM-SHA-512',
    [`${listener}.plain.sasl.jaas.config`]: `${login}.plain.PlainLoginModule required user_${username}="${password}";`,
    [`${listener}.scram-sha-256.sasl.jaas.config`]: scram,
    [`${listener}.scram-sha-512.sasl.jaas.config`]: scram,
  };
}

const scramUsers = ({ username, password }: Secure): string[] =>
  ['SCRAM-SHA-256', 'SCRAM-SHA-512'].flatMap((mechanism) => [
    '--add-scram',
    `${mechanism}=[name=${username},password=${password}]`,
  ]);

/** Brings Java, where it may, and the broker's jars. */
export async function ensureKafka(): Promise<void> {
  await ensurePackages({
    what: `Java ${javaVersionMin} or later`,
    packages: ['default-jre-headless'],
    isThere: () => javaVersion() >= javaVersionMin,
  });
  if (existsSync(kafkaJarFolder)) return;
  await ensurePackages({ what: 'Maven', packages: ['maven'], isThere: () => Bun.which('mvn') !== null });
  await withLock(join(toolsFolder, 'kafka.lock'), async () => {
    if (existsSync(kafkaJarFolder)) return;
    await progress("Downloading Kafka's jars from Maven Central", downloadJars);
  });
}

async function downloadJars(): Promise<void> {
  // Moved into place when complete, so that a folder that is there is whole.
  const incoming = `${kafkaJarFolder}.incoming`;
  rmSync(incoming, { recursive: true, force: true });
  await run([
    'mvn',
    '--quiet',
    '--batch-mode',
    '--file',
    pom,
    'org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy-dependencies',
    '-DincludeScope=runtime',
    `-DoutputDirectory=${incoming}`,
  ]);
  renameSync(incoming, kafkaJarFolder);
}

function javaVersion(): number {
  if (Bun.which('java') === null) return 0;
  const version = Bun.spawnSync(['java', '-version']).stderr.toString();
  return Number(/version "(\d+)/.exec(version)?.[1] ?? 0);
}
