// Starts what watches: Prometheus, Alertmanager and exporters, Debian's, with the project's own rules; loopback only.
import { copyFileSync, cpSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { projectFolder } from './folders.ts';
import { launchHttp } from './http.ts';
import { ensurePackages } from './install.ts';
import { freePort } from './port.ts';
import { progress } from './progress.ts';
import { Server } from './server.ts';

const startDeadlineMs = 30_000;
const sources = join(projectFolder, 'monitoring');

/** A running server. */
export type Watcher = {
  /** http://127.0.0.1:port */
  readonly url: string;
  readonly pid: number;
  readonly isRunning: boolean;
  pids(): number[];
  log(): string;
  /** Ends it and removes its files. */
  stop(): Promise<void>;
};

type Program = {
  readonly title: string;
  /** Of Debian; the program has the same name unless another is given. */
  readonly package: string;
  readonly program?: string;
  readonly readyPath: string;
  readonly env?: Readonly<Record<string, string>>;
  /** Its arguments, for a folder of its own and host:port to listen on. */
  readonly args: (folder: string, address: string) => readonly string[];
};

async function startProgram(what: Program): Promise<Watcher> {
  const program = what.program ?? what.package;
  await ensurePackages({
    what: what.title,
    packages: [what.package],
    isThere: () => Bun.which(program) !== null,
  });
  return await progress(`Starting ${what.title}`, async () => {
    const server = new Server(what.title.replaceAll(/\W/g, '-'));
    const address = `127.0.0.1:${freePort()}`;
    try {
      await launchHttp(server, {
        command: [program, ...what.args(server.folder, address)],
        readyUrl: `http://${address}${what.readyPath}`,
        deadlineMs: startDeadlineMs,
        ...(what.env === undefined ? {} : { env: what.env }),
      });
    } catch (error) {
      await server.stop();
      throw error;
    }
    return {
      url: `http://${address}`,
      get pid() {
        return server.pid;
      },
      get isRunning() {
        return server.isRunning;
      },
      pids: () => server.pids(),
      log: () => server.log(),
      stop: () => server.stop(),
    };
  });
}

/** Where Prometheus finds what it scrapes: host:port, or addresses to be probed, by job. */
export type Targets = {
  readonly scraped: Readonly<Record<string, readonly string[]>>;
  /** Asked by the blackbox exporter at `prober` (host:port). */
  readonly probed?: { readonly prober: string; readonly urls: Readonly<Record<string, string>> };
};

/** With monitoring/prometheus's configuration and rules; only the targets and how often it looks are given. */
export function startPrometheus(options: {
  readonly targets: Targets;
  readonly intervalSeconds: number;
}): Promise<Watcher> {
  const { targets, intervalSeconds } = options;
  return startProgram({
    title: 'Prometheus',
    package: 'prometheus',
    readyPath: '/-/ready',
    args(folder, address) {
      const configuration = join(folder, 'prometheus.yml');
      cpSync(join(sources, 'prometheus', 'rules'), join(folder, 'rules'), { recursive: true });
      const text = readFileSync(join(sources, 'prometheus', 'prometheus.yml'), 'utf8');
      const here = text.replaceAll(/_interval: 15s$/gm, `_interval: ${intervalSeconds}s`);
      // Nobody has a name here.
      writeFileSync(configuration, here.replace(/^ *dns_sd_configs: .*\n/m, ''));
      writeTargets(join(folder, 'targets'), targets, address);
      return [
        `--config.file=${configuration}`,
        `--storage.tsdb.path=${join(folder, 'data')}`,
        `--web.listen-address=${address}`,
      ];
    },
  });
}

function writeTargets(folder: string, { scraped, probed }: Targets, ownAddress: string): void {
  mkdirSync(folder);
  const write = (job: string, list: readonly object[]) =>
    writeFileSync(join(folder, `${job}.yml`), JSON.stringify(list));
  for (const [job, addresses] of Object.entries({ prometheus: [ownAddress], ...scraped }))
    write(job, [{ targets: addresses }]);
  for (const [job, url] of Object.entries(probed?.urls ?? {}))
    write(job, [{ targets: [url], labels: { prober: probed?.prober } }]);
}

/** With monitoring/alertmanager's configuration, whose webhook is at `webhookUrl`. */
export function startAlertmanager(webhookUrl: string): Promise<Watcher> {
  return startProgram({
    title: 'Alertmanager',
    package: 'prometheus-alertmanager',
    readyPath: '/-/ready',
    args(folder, address) {
      const configuration = join(folder, 'alertmanager.yml');
      const text = readFileSync(join(sources, 'alertmanager', 'alertmanager.yml'), 'utf8');
      writeFileSync(configuration, text.replace('http://webhook:9095/', webhookUrl));
      return [
        `--config.file=${configuration}`,
        `--storage.path=${join(folder, 'data')}`,
        `--web.listen-address=${address}`,
        '--cluster.listen-address=', // Alone: nobody to gossip with.
      ];
    },
  });
}

export function startPostgresExporter(databaseUrl: string): Promise<Watcher> {
  return startProgram({
    title: 'PostgreSQL exporter',
    package: 'prometheus-postgres-exporter',
    readyPath: '/metrics',
    env: { DATA_SOURCE_NAME: `${databaseUrl}?sslmode=disable` },
    args: (_, address) => [
      `--web.listen-address=${address}`,
      `--extend.query-path=${join(sources, 'postgres-exporter', 'queries.yml')}`,
    ],
  });
}

/** Reads the text files of `textfileFolder` too. */
export function startNodeExporter(textfileFolder: string): Promise<Watcher> {
  return startProgram({
    title: 'node exporter',
    package: 'prometheus-node-exporter',
    readyPath: '/metrics',
    args: (_, address) => [
      `--web.listen-address=${address}`,
      `--collector.textfile.directory=${textfileFolder}`,
    ],
  });
}

export function startBlackboxExporter(): Promise<Watcher> {
  return startProgram({
    title: 'blackbox exporter',
    package: 'prometheus-blackbox-exporter',
    readyPath: '/-/healthy',
    args(folder, address) {
      const configuration = join(folder, 'blackbox.yml');
      copyFileSync(join(sources, 'blackbox', 'blackbox.yml'), configuration);
      return [`--config.file=${configuration}`, `--web.listen-address=${address}`];
    },
  });
}
