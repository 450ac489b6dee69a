// docker-compose.yml as Compose itself reads it: what it refuses, and what holds of every service.
import { beforeAll, expect, test } from 'bun:test';
import { existsSync, readdirSync, readFileSync, realpathSync } from 'node:fs';
import { isBuiltin } from 'node:module';
import { dirname, join, relative } from 'node:path';
import { containerTools, ensureContainerTools } from '../src/container-tools.ts';
import { projectFolder } from '../src/folders.ts';

type Service = {
  readonly image: string;
  readonly build?: { readonly dockerfile: string };
  readonly cap_drop?: readonly string[];
  readonly cap_add?: readonly string[];
  readonly environment?: Readonly<Record<string, string | null>>;
  readonly security_opt?: readonly string[];
  readonly read_only?: boolean;
  readonly restart?: string;
  readonly healthcheck?: object;
  readonly profiles?: readonly string[];
  readonly ports?: readonly { readonly host_ip?: string }[];
  readonly volumes?: readonly {
    readonly type: string;
    readonly source: string;
    readonly read_only?: boolean;
  }[];
  readonly deploy?: { readonly resources?: { readonly limits?: { cpus?: number; memory?: string } } };
};
type Compose = { readonly services: Readonly<Record<string, Service>>; readonly volumes: object };

const config = (env: Readonly<Record<string, string>>) =>
  Bun.spawnSync([containerTools.compose, '--profile', 'full', 'config', '--format', 'json'], {
    cwd: projectFolder,
    env: { PATH: process.env.PATH, ...env },
  });

let compose: Compose;
beforeAll(async () => {
  await ensureContainerTools();
  const { exitCode, stdout, stderr } = config({ POSTGRES_PASSWORD: 'any' });
  expect(stderr.toString()).toBe('');
  expect(exitCode).toBe(0);
  compose = JSON.parse(stdout.toString()) as Compose;
});

const services = () => Object.entries(compose.services);
const violators = (isRight: (service: Service, name: string) => boolean) =>
  services()
    .filter(([name, service]) => !isRight(service, name))
    .map(([name]) => name);

test.each([{}, { POSTGRES_PASSWORD: '' }])('without a password it refuses to start: %p', (env) => {
  const { exitCode, stderr } = config(env);
  expect(exitCode).not.toBe(0);
  expect(stderr.toString()).toContain('set it to letters and digits, e.g. POSTGRES_PASSWORD=');
});

test('every image has a version, and every Dockerfile’s base an exact one', () => {
  expect(violators(({ image }) => /:v?\d+\.\d+(\.\d+)?(-[a-z]+)?$/.test(image))).toEqual([]);
  const dockerfiles = services().flatMap(([, { build }]) => (build === undefined ? [] : [build.dockerfile]));
  const bases = [...new Set(dockerfiles)].flatMap((file) =>
    [...readFileSync(join(projectFolder, file), 'utf8').matchAll(/^FROM (\S+)/gm)].map(([, base]) => base),
  );
  expect(bases.length).toBeGreaterThan(6);
  expect(bases.filter((base) => !/:\d+\.\d+\.\d+(-[\w-]+)?$/.test(base ?? ''))).toEqual([]);
});

test('no service may gain rights, and only PostgreSQL starts with some', () => {
  expect(violators(({ cap_drop }) => cap_drop?.join() === 'ALL')).toEqual([]);
  expect(violators(({ security_opt }) => security_opt?.join() === 'no-new-privileges:true')).toEqual([]);
  expect(violators(({ cap_add }) => cap_add === undefined)).toEqual(['postgres']);
});

test('root file systems are read-only, but for the broker, whose image writes its configuration', () => {
  expect(violators(({ read_only }) => read_only === true)).toEqual(['kafka', 'topics']);
});

test('every service has limits', () => {
  expect(
    violators(({ deploy }) => {
      const { cpus, memory } = deploy?.resources?.limits ?? {};
      return cpus !== undefined && memory !== undefined;
    }),
  ).toEqual([]);
});

test('ports are on the loopback interface only', () => {
  const ports = services().flatMap(([, service]) => service.ports ?? []);
  expect(ports.length).toBeGreaterThan(6);
  expect(ports.filter(({ host_ip }) => host_ip !== '127.0.0.1')).toEqual([]);
});

test('what is mounted from the project is there and read-only', () => {
  const mounts = services()
    .flatMap(([, service]) => service.volumes ?? [])
    .filter(({ type }) => type === 'bind');
  expect(mounts.length).toBeGreaterThan(6);
  expect(mounts.filter(({ source, read_only }) => !existsSync(source) || read_only !== true)).toEqual([]);
});

test('Prometheus looks for services that are there', () => {
  const folder = join(projectFolder, 'monitoring', 'prometheus', 'targets');
  const hosts = readdirSync(folder).flatMap((file) =>
    [...readFileSync(join(folder, file), 'utf8').matchAll(/"(?:http:\/\/)?([\w.-]+):\d+[^"]*"/g)].map(
      ([, host]) => host ?? '',
    ),
  );
  expect(hosts.length).toBeGreaterThan(7);
  expect(hosts.filter((host) => host !== '127.0.0.1' && !(host in compose.services))).toEqual([]);
  const configuration = readFileSync(join(folder, '..', 'prometheus.yml'), 'utf8');
  const [, name = '', port] =
    /dns_sd_configs: \[\{ names: \[(\w+)\], type: A, port: (\d+)/.exec(configuration) ?? [];
  expect(compose.services[name]?.environment?.PORT).toBe(port);
});

test.each([
  ['scorer/Dockerfile', ['scorer/src/main.ts', 'scorer/src/start.ts']],
  ['simulator/Dockerfile', ['simulator/src/main.ts']],
  ['monitoring/webhook/Dockerfile', ['monitoring/webhook/main.ts']],
])('%s copies every file that its programs import', (dockerfile, programs) => {
  const copied = [
    ...readFileSync(join(projectFolder, dockerfile), 'utf8').matchAll(/^COPY ([^-\s]\S*) /gm),
  ].map(([, path]) => path as string);
  const files = importedFiles(programs.map((program) => join(projectFolder, program)));
  expect(files.length).toBeGreaterThanOrEqual(programs.length);
  const isCopied = (file: string) => copied.some((path) => file === path || file.startsWith(`${path}/`));
  expect(files.filter((file) => !isCopied(file))).toEqual([]);
  const sent = Array.from(
    readFileSync(join(projectFolder, '.dockerignore'), 'utf8').matchAll(/^!(.+)$/gm),
    ([, path]) => path as string,
  );
  const isSent = (path: string) => sent.some((one) => path === one || path.startsWith(`${one}/`));
  expect(copied.filter((path) => !isSent(path))).toEqual([]);
});

/** The project's own files that run when these do, from the project's folder. */
function importedFiles(programs: readonly string[]): string[] {
  const transpiler = new Bun.Transpiler({ loader: 'ts' });
  const found = new Set<string>();
  for (const waiting = [...programs]; waiting.length > 0; ) {
    const file = waiting.pop() as string;
    if (found.has(file)) continue;
    found.add(file);
    for (const { path } of transpiler.scanImports(readFileSync(file, 'utf8'))) {
      const resolved = isBuiltin(path) ? path : realpathSync(Bun.resolveSync(path, dirname(file)));
      if (resolved.endsWith('.ts') && !resolved.includes('node_modules')) waiting.push(resolved);
    }
  }
  return [...found].map((file) => relative(projectFolder, file));
}
