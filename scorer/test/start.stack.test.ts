// `bun run start` as a person runs it: a process, its terminal and its port.
import { afterEach, beforeEach, expect, test } from 'bun:test';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

const deadlineMs = 10_000;
const startFile = join(import.meta.dir, '..', 'src', 'start.ts');

let folder: string;
const children = new Set<Child>();
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'lonetree-start-'));
});
afterEach(async () => {
  for (const { process } of children) process.kill('SIGKILL');
  await Promise.all([...children].map(({ process }) => process.exited));
  children.clear();
  rmSync(folder, { recursive: true });
});

type Child = ReturnType<typeof start>;

function start(environment: Readonly<Record<string, string>> = {}, ...options: readonly string[]) {
  const { KAFKA_BROKERS: _, DATABASE_URL: __, ...inherited } = process.env;
  const child = Bun.spawn([process.execPath, startFile, ...options], {
    env: { ...inherited, DATA_DIR: folder, PORT: '0', ...environment },
    stdin: 'ignore',
    stdout: 'pipe',
    stderr: 'pipe',
  });
  const started = { process: child, output: '' };
  const reading = (async () => {
    const decoder = new TextDecoder();
    for await (const chunk of child.stdout) started.output += decoder.decode(chunk, { stream: true });
  })();
  const result = Object.assign(started, {
    /** What the process said until a line that matches. */
    async until(pattern: RegExp): Promise<RegExpExecArray> {
      for (const end = performance.now() + deadlineMs; performance.now() < end; await Bun.sleep(20)) {
        const match = pattern.exec(started.output);
        if (match !== null) return match;
      }
      throw new Error(`no ${pattern} within ${deadlineMs} ms in:\n${started.output}`);
    },
    async ended() {
      const [exitCode, complaint] = await Promise.all([
        child.exited,
        new Response(child.stderr).text(),
        reading,
      ]);
      return { exitCode, complaint, output: started.output };
    },
  });
  children.add(result);
  return result;
}

test('without any setting it listens, shows an anomaly, ends on Ctrl-C and goes on where it was', async () => {
  const first = start();
  const [, address] = await first.until(/^Lonetree listens on (http:\S+)$/m);
  expect((await fetch(new URL('/readyz', address))).status).toBe(200);
  await first.until(/^\d\d:\d\d:\d\d {2}station-\d+ .* score -0\.\d{3} {2}severity \d+\.\d {2}\S/m);
  const { items } = (await (await fetch(new URL('/v1/anomalies', address))).json()) as { items: object[] };
  expect(items.length).toBeGreaterThan(0);
  first.process.kill('SIGINT');
  const { exitCode, complaint, output } = await first.ended();
  expect({ exitCode, complaint }).toEqual({ exitCode: 0, complaint: '' });
  const [, count] = /^(\S+) readings, \d+ abnormal in \d+ s\./m.exec(output) as RegExpExecArray;
  expect(output).not.toContain('from before');

  const second = start();
  const [, earlierCount] = await second.until(/^(\S+) readings are stored from before/m);
  expect(earlierCount).toBe(count as string);
  second.process.kill('SIGTERM');
  expect((await second.ended()).exitCode).toBe(0);
}, 60_000);

test('plain output has no escape sequences', async () => {
  const child = start({ FORCE_COLOR: '1' });
  await child.until(/ severity /);
  child.process.kill('SIGINT');
  expect((await child.ended()).output).not.toContain('\x1b');
}, 30_000);

test('a port that is taken is named, with the setting that changes it', async () => {
  const taken = Bun.serve({ port: 0, hostname: '127.0.0.1', fetch: () => new Response() });
  const { port } = taken;
  const { exitCode, complaint } = await start({ PORT: String(port) }).ended();
  await taken.stop();
  expect(complaint).toBe(
    `HTTP cannot listen on 127.0.0.1:${port}: another program listens there; set PORT to a free one.\n`,
  );
  expect(exitCode).toBe(1);
}, 30_000);

test('--help tells the settings; what it does not know it answers with the same and exit code 2', async () => {
  const help = await start({}, '--help').ended();
  expect(help).toMatchObject({ exitCode: 0, complaint: '' });
  expect(help.output).toContain('PORT');
  expect(await start({}, '--port', '1').ended()).toEqual({
    exitCode: 2,
    complaint: help.output,
    output: '',
  });
}, 30_000);
