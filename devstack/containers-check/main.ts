// `bun run check:containers`: builds the project's images and runs docker-compose.yml with them, by podman and the real Compose, on
// a machine that can pull no image: bases made of Debian's packages stand in for the official ones (stand-ins/). It checks what
// those cannot change: that the images build and how large they are, that services become healthy in order, unprivileged and on
// read-only file systems, that two scorers share the work, that nothing is lost or stored twice when one is killed.
// Needs root on Debian, the package registries and about 20 GB; takes minutes, so it is no part of the tests.
import { cpSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { takeNoArguments } from '../src/arguments.ts';
import { containerTools, ensureContainerTools } from '../src/container-tools.ts';
import { projectFolder } from '../src/folders.ts';
import { ensurePackages, run } from '../src/install.ts';
import { ensureKafka, kafkaJarFolder } from '../src/kafka.ts';
import { freePort } from '../src/port.ts';
import { progress } from '../src/progress.ts';

takeNoArguments(`bun run check:containers

Builds the images and runs docker-compose.yml with them, by podman and the real Compose, with stand-ins for the official images.
Needs root on Debian, the package registries, about 20 GB, and minutes. Prints what holds; exits 1 when something does not.`);

const folder = mkdtempSync(join(tmpdir(), 'lonetree-containers-'));
const context = join(folder, 'context');
const socket = join(folder, 'podman.sock');

/** The longest of the intervals of services that start slowly: more often, and their retries were used up too soon. */
const healthIntervalMs = 10_000;
const healthyDeadlineMs = 300_000;
const scorerLayersMaxMb = 130;
const scorers = ['lonetree-scorer-1', 'lonetree-scorer-2'] as const;

/** All that podman and Compose see; storage of its own, so that nothing is left and nothing else is touched. */
const env = {
  CONTAINERS_CONF: join(import.meta.dir, 'containers.conf'),
  CONTAINERS_STORAGE_CONF: join(folder, 'storage.conf'),
  DOCKER_HOST: `unix://${socket}`,
  POSTGRES_PASSWORD: 'containers0check',
  READER_PASSWORD: 'reader0check',
  POSTGRES_PORT: String(freePort()),
  SCORER_PORTS: '0', // Any that is free, as podman takes no range.
  KAFKA_PORT: String(freePort()),
  MLFLOW_PORT: String(freePort()),
  AIRFLOW_PORT: String(freePort()),
  PROMETHEUS_PORT: String(freePort()),
  ALERTMANAGER_PORT: String(freePort()),
  MLFLOW_TRACKING_URI: 'http://mlflow:5000',
};
const podman = (...args: string[]) => run(['podman', ...args], { env });
const compose = (...args: string[]) =>
  run([containerTools.compose, '--profile', 'full', ...args], { cwd: projectFolder, env });

/** By the image: what is built in its place, and Debian's package where that is all. */
const standIns: Readonly<Record<string, { readonly file: string; readonly package?: string }>> = {
  'oven/bun:1.4.5-slim': { file: 'bun' },
  'python:3.11.13-slim-bookworm': { file: 'python' },
  'maven:3.9.11-eclipse-temurin-17': { file: 'maven' },
  'postgres:17.6-bookworm': { file: 'postgres' },
  'apache/kafka:4.3.1': { file: 'kafka' },
  'prom/prometheus:v3.5.0': { file: 'program', package: 'prometheus' },
  'prom/alertmanager:v0.28.1': { file: 'program', package: 'prometheus-alertmanager' },
  'prom/node-exporter:v1.9.1': { file: 'program', package: 'prometheus-node-exporter' },
  'prom/blackbox-exporter:v0.27.0': { file: 'program', package: 'prometheus-blackbox-exporter' },
  'prometheuscommunity/postgres-exporter:v0.17.1': {
    file: 'program',
    package: 'prometheus-postgres-exporter',
  },
};
/** Nothing stands in for their images. */
const servicesLeftOut = ['grafana', 'kafka-exporter'];

/** Whoever ends this wants its containers ended too. */
const interrupted = new Promise<never>((_, reject) => {
  for (const signal of ['SIGINT', 'SIGTERM'] as const)
    process.once(signal, () => reject(new Error(`ended by ${signal}`)));
});
interrupted.catch(() => {}); // Before there are containers there is nothing to end.

/** By the name in docker-compose.yml. */
const images = {
  'lonetree-scorer': 'scorer/Dockerfile',
  'lonetree-simulator': 'simulator/Dockerfile',
  'lonetree-webhook': 'monitoring/webhook/Dockerfile',
  'lonetree-kafka': 'monitoring/kafka/Dockerfile',
  'lonetree-ml': 'ml/Dockerfile',
  'lonetree-airflow': 'orchestrator/Dockerfile',
} as const;

async function prepare(): Promise<void> {
  await ensurePackages({
    what: 'podman with its network',
    packages: ['podman', 'runc', 'netavark', 'aardvark-dns', 'catatonit', 'iptables', 'debootstrap'],
    isThere: () =>
      ['podman', 'catatonit', 'iptables', 'debootstrap'].every((name) => Bun.which(name) !== null),
  });
  await ensureContainerTools();
  await ensureKafka();
  const storage = { driver: 'overlay', graphroot: join(folder, 'storage'), runroot: join(folder, 'run') };
  const lines = Object.entries(storage).map(([name, value]) => `${name} = "${value}"`);
  writeFileSync(env.CONTAINERS_STORAGE_CONF, ['[storage]', ...lines, ''].join('\n'));
}

async function buildStandIns(): Promise<void> {
  const system = join(folder, 'debian');
  await progress('Making a Debian', async () => {
    const include = '--include=ca-certificates,wget';
    await run(['debootstrap', '--variant=minbase', include, 'bookworm', system]);
    // What this machine trusts, such as a company's proxy, its images trust too.
    cpSync('/etc/ssl/certs/ca-certificates.crt', join(system, 'etc/ssl/certs/ca-certificates.crt'));
    await run(['tar', '-C', system, '-cf', join(folder, 'debian.tar'), '.']);
    const trust = ['NODE_EXTRA_CA_CERTS', 'SSL_CERT_FILE'].flatMap((name) => [
      '--change',
      `ENV ${name}=/etc/ssl/certs/ca-certificates.crt`,
    ]);
    await podman('import', ...trust, join(folder, 'debian.tar'), 'localhost/debian-stand-in');
  });
  cpSync(join(import.meta.dir, 'stand-ins'), join(context, 'stand-ins'), { recursive: true });
  cpSync(kafkaJarFolder, join(context, 'jars'), { recursive: true });
  for (const file of ['node_modules/bun/bin/bun.exe', 'devstack/kafka/log4j2.properties'])
    cpSync(join(projectFolder, file), join(context, file), { recursive: true, dereference: true });
  if (existsSync('/etc/ssl/certs/java/cacerts'))
    cpSync('/etc/ssl/certs/java/cacerts', join(context, 'etc/cacerts'));
  else mkdirSync(join(context, 'etc/cacerts'), { recursive: true });
  for (const [image, { file, package: name = '' }] of Object.entries(standIns))
    await progress(`Making a stand-in for ${image}`, () =>
      podman(
        'build',
        '--network=host',
        `--tag=docker.io/${image.includes('/') ? image : `library/${image}`}`,
        `--build-arg=package=${name}`,
        `--file=${join(context, 'stand-ins', `${file}.Containerfile`)}`,
        context,
      ),
    );
}

async function buildImages(): Promise<void> {
  for (const [name, file] of Object.entries(images))
    await progress(`Building ${name}`, () =>
      podman(
        'build',
        '--network=host',
        '--pull=never',
        '--format=docker', // Health checks are part of Docker's format only.
        `--tag=docker.io/library/${name}:0.1.0`,
        `--file=${file}`,
        projectFolder,
      ),
    );
}

async function sizeMb(image: string): Promise<number> {
  return Number(await podman('image', 'inspect', '--format', '{{.Size}}', image)) / 2 ** 20;
}

/** Without systemd nothing calls health checks: this does, for all containers, as long as it is not told to stop. */
function callHealthChecks(): () => Promise<void> {
  let isOn = true;
  const loop = async () => {
    while (isOn) {
      const names = (await podman('ps', '--format', '{{.Names}}')).split('\n').filter(Boolean);
      await Promise.allSettled(names.map((name) => podman('healthcheck', 'run', name)));
      await Bun.sleep(healthIntervalMs);
    }
  };
  const done = loop();
  return async () => {
    isOn = false;
    await done;
  };
}

const query = async (sql: string): Promise<string> => {
  const psql = ['psql', '-U', 'lonetree', '-tA', '-c', sql, 'lonetree'];
  return (
    await podman('exec', '-e', `PGPASSWORD=${env.POSTGRES_PASSWORD}`, 'lonetree-postgres-1', ...psql)
  ).trim();
};

async function waitFor(what: string, isSo: () => Promise<boolean>): Promise<void> {
  const startMs = performance.now();
  while (!(await isSo())) {
    if (performance.now() - startMs > healthyDeadlineMs)
      throw new Error(`not within ${healthyDeadlineMs} ms: ${what}`);
    await Bun.sleep(500);
  }
}

const claims: { readonly claim: string; readonly holds: boolean; readonly seen: unknown }[] = [];
const check = (claim: string, holds: boolean, seen: unknown) => claims.push({ claim, holds, seen });

/** By address: readings that each scorer has stored, as its metrics say. */
async function readingsByScorer(): Promise<Record<string, number>> {
  const ask = async (name: string) => {
    const { stdout } = Bun.spawnSync(['podman', 'port', name, '8080'], { env: { ...process.env, ...env } });
    const address = stdout.toString().trim();
    const text = await (await fetch(`http://${address}/metrics`)).text();
    const counts = [...text.matchAll(/^lonetree_readings_total\{.*\} (\d+)$/gm)].map(([, count]) =>
      Number(count),
    );
    return [name, counts.reduce((sum, count) => sum + count, 0)] as const;
  };
  return Object.fromEntries(await Promise.all(scorers.map(ask)));
}

async function checkSealed(): Promise<void> {
  const names = (await podman('ps', '--format', '{{.Names}}')).split('\n').filter(Boolean);
  for (const name of names) {
    const user = (await podman('exec', name, 'id', '-u')).trim();
    const isOurs = !name.startsWith('lonetree-postgres');
    if (isOurs) check(`${name} does not run as root`, user !== '0', user);
    const capabilities = await podman('exec', name, 'sed', '-n', 's/^CapEff:\t//p', '/proc/self/status');
    if (isOurs) check(`${name} has no capabilities`, /^0+\n$/.test(capabilities), capabilities.trim());
  }
}

/** What Prometheus scrapes; the jobs of the services that are left out are down. */
async function checkWatched(): Promise<void> {
  const ask = async (expression: string) => {
    const url = `http://127.0.0.1:${env.PROMETHEUS_PORT}/api/v1/query?query=${encodeURIComponent(expression)}`;
    const { data } = (await (await fetch(url)).json()) as { data: { result: { metric: { job: string } }[] } };
    return data.result.map(({ metric }) => metric.job).sort();
  };
  const jobs = [
    'airflow',
    'alertmanager',
    'kafka',
    'mlflow',
    'node',
    'postgresql',
    'prometheus',
    'scorer',
    'scorer',
  ];
  const well = 'up{job!~"mlflow|airflow"} == 1 or probe_success == 1';
  await waitFor('Prometheus reaches all that runs', async () => Bun.deepEquals(await ask(well), jobs));
  check('Prometheus reaches all that runs', true, { jobs, down: await ask('up == 0') });
}

async function checkDelivery(): Promise<void> {
  await waitFor('both scorers store verdicts', async () =>
    Object.values(await readingsByScorer()).every((count) => count > 1_000),
  );
  check('two scorers share the work', true, await readingsByScorer());

  const rows = async () => Number(await query('select count(*) from prediction'));
  const before = await rows();
  await podman('kill', '--signal=KILL', scorers[1]);
  await waitFor(
    'verdicts come without the scorer that was killed',
    async () => (await rows()) > before + 20_000,
  );
  check('one was killed, and the other goes on', true, { before, after: await rows() });

  await podman('stop', '--time=10', 'lonetree-simulator-1');
  const sent = lastLine(await compose('logs', '--no-log-prefix', 'simulator'));
  const isThrough = async () =>
    (await query('select sum(next_offset) from consumer_offset')) === String(sent.acknowledged);
  await waitFor('all messages are stored', isThrough);
  const counted = await query('select count(*), count(distinct (partition, "offset", row)) from prediction');
  const isExact =
    counted === `${sent.readings}|${sent.readings}` && sent.unconfirmed === 0 && sent.failed === 0;
  check('every reading is stored once', isExact, { sent, 'stored|distinct': counted });
}

/** What the simulator says that it has sent. */
function lastLine(log: string) {
  const line = log
    .trim()
    .split('\n')
    .findLast((text) => text.startsWith('{"messages"'));
  if (line === undefined) throw new Error(`the simulator did not say what it sent:\n${log}`);
  return JSON.parse(line) as Readonly<Record<'readings' | 'acknowledged' | 'unconfirmed' | 'failed', number>>;
}

async function main(): Promise<void> {
  await prepare();
  await buildStandIns();
  await buildImages();
  const layersMb = (await sizeMb('lonetree-scorer:0.1.0')) - (await sizeMb('oven/bun:1.4.5-slim'));
  check(
    `the scorer’s own layers are under ${scorerLayersMaxMb} MB`,
    layersMb < scorerLayersMaxMb,
    Math.round(layersMb),
  );

  const service = Bun.spawn(['podman', 'system', 'service', '--time=0', env.DOCKER_HOST], {
    env: { ...process.env, ...env },
    stdio: ['ignore', 'ignore', 'ignore'],
  });
  await waitFor('podman answers', async () => existsSync(socket));
  const stopHealthChecks = callHealthChecks();
  const work = async () => {
    const services = (await compose('config', '--services')).trim().split('\n');
    const started = services.filter((name) => !servicesLeftOut.includes(name));
    await progress('Starting the services, each when those it needs are healthy', () =>
      compose('up', '--detach', '--no-build', '--pull=never', '--wait', '--scale=scorer=2', ...started),
    );
    check('every service became healthy', true, await podman('ps', '--format', '{{.Names}} {{.Status}}'));
    await checkSealed();
    await progress('Waiting for Prometheus', checkWatched);
    await progress('Letting two scorers work, and killing one', checkDelivery);
  };
  try {
    await Promise.race([work(), interrupted]);
  } catch (error) {
    console.error(await podman('ps', '--all', '--format', '{{.Names}} {{.Status}}'));
    console.error(await compose('logs', '--tail=20', '--no-color').catch(String));
    throw error;
  } finally {
    await stopHealthChecks();
    await progress('Ending them', () => compose('down', '--volumes', '--timeout=30'));
    service.kill();
    await service.exited;
  }
}

try {
  await main();
} finally {
  await podman('rm', '--all', '--force', '--time=0').catch(console.error);
  // Podman leaves its storage mounted on itself.
  const mounts = readFileSync('/proc/mounts', 'utf8')
    .split('\n')
    .map((line) => line.split(' ')[1] ?? '');
  for (const mount of mounts.filter((place) => place.startsWith(`${folder}/`)).reverse())
    await run(['umount', mount]);
  rmSync(folder, { recursive: true, force: true });
}
for (const { claim, holds, seen } of claims) console.log(JSON.stringify({ holds, claim, seen }));
process.exit(claims.every(({ holds }) => holds) ? 0 : 1);
