// Starts a real PostgreSQL (Debian's) in a temporary folder: loopback only, fsync on.
import { chownSync, existsSync, readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { ensurePackages, run } from './install.ts';
import { freePort } from './port.ts';
import { progress } from './progress.ts';
import { Server } from './server.ts';

const startDeadlineMs = 60_000;
const startTriesMax = 3;
const versionMin = 15;
const debianFolder = '/usr/lib/postgresql';

/** A running database server. Its port and data stay the same from `kill9` to `start`. */
export type Postgres = {
  readonly url: string;
  readonly pid: number;
  readonly isRunning: boolean;
  pids(): number[];
  log(): string;
  /** Runs SQL by psql and answers what it prints: a line a row, `|` between columns. */
  sql(statement: string): Promise<string>;
  kill9(): Promise<void>;
  start(): Promise<void>;
  freeze(): void;
  thaw(): void;
  /** Ends the server and removes its data. */
  stop(): Promise<void>;
};

/** `settings` are lines of postgresql.conf. */
export async function startPostgres(
  options: { readonly settings?: Readonly<Record<string, string | number>> } = {},
): Promise<Postgres> {
  await ensurePackages({
    what: `PostgreSQL ${versionMin} or later`,
    packages: ['postgresql'],
    isThere: () => programFolder() !== undefined,
  });
  return await progress('Starting PostgreSQL', async () => {
    for (let tries = 1; ; tries++) {
      try {
        return await startServer(options.settings ?? {});
      } catch (error) {
        // Another process may take the port between our look and the server's.
        if (tries === startTriesMax || !/address already in use/i.test(String(error))) throw error;
      }
    }
  });
}

async function startServer(settings: Readonly<Record<string, string | number>>): Promise<Postgres> {
  const server = new Server('PostgreSQL');
  const data = join(server.folder, 'data');
  const port = freePort();
  const program = (name: string) => [...asPostgres(), join(programFolder() ?? debianFolder, name)];
  const isReady = async () => {
    const probe = [...program('pg_isready'), '-q', '-h', '127.0.0.1', '-p', String(port)];
    return (await Bun.spawn(probe, { cwd: '/' }).exited) === 0;
  };
  const start = async () => {
    server.launch([...program('postgres'), '-D', data]);
    await server.untilReady(isReady, startDeadlineMs);
  };
  try {
    giveToPostgres(server.folder);
    const initdb = [
      '-D',
      data,
      '-U',
      'postgres',
      '-A',
      'trust',
      '--locale=C.UTF-8',
      '-E',
      'UTF8',
      '--no-instructions',
    ];
    await run([...program('initdb'), ...initdb], { cwd: '/' });
    writeFileSync(
      join(data, 'postgresql.auto.conf'),
      serverSettings({ port, folder: server.folder, settings }),
    );
    await start();
  } catch (error) {
    await server.stop();
    throw error;
  }
  const url = `postgres://postgres@127.0.0.1:${port}/postgres`;
  const psql = [...program('psql'), url, '--no-psqlrc', '-v', 'ON_ERROR_STOP=1', '-qAt', '-c'];
  return {
    url,
    sql: async (statement) => (await run([...psql, statement], { cwd: '/' })).trimEnd(),
    start: () => progress('Starting PostgreSQL again', start),
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

function serverSettings(options: {
  readonly port: number;
  readonly folder: string;
  readonly settings: Readonly<Record<string, string | number>>;
}): string {
  return Object.entries({
    port: options.port,
    listen_addresses: '127.0.0.1',
    unix_socket_directories: options.folder,
    fsync: 'on',
    synchronous_commit: 'on',
    shared_buffers: '256MB',
    max_wal_size: '4GB',
    ...options.settings,
  })
    .map(([key, value]) => `${key} = '${String(value).replaceAll("'", "''")}'\n`)
    .join('');
}

/** The newest installed version's programs. */
function programFolder(): string | undefined {
  if (!existsSync(debianFolder)) return undefined;
  const versions = readdirSync(debianFolder)
    .map(Number)
    .filter((version) => version >= versionMin);
  const folders = versions.sort((a, b) => b - a).map((version) => join(debianFolder, String(version), 'bin'));
  return folders.find((folder) => existsSync(join(folder, 'initdb')));
}

const isRoot = process.getuid?.() === 0;

/** PostgreSQL refuses to run as root, so root hands over to Debian's user for it. */
function asPostgres(): string[] {
  return isRoot ? ['setpriv', '--reuid=postgres', '--regid=postgres', '--clear-groups'] : [];
}

function giveToPostgres(folder: string): void {
  if (!isRoot) return;
  const id = (option: string) => Number(Bun.spawnSync(['id', option, 'postgres']).stdout.toString());
  chownSync(folder, id('-u'), id('-g'));
}
