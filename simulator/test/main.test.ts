// Proves the command as a user runs it: exit codes, what is on stdout, files, signals.
import { afterAll, beforeAll, describe, expect, test } from 'bun:test';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

const MAIN = join(import.meta.dir, '../src/main.ts');
let directory = '';
beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'lonetree-simulator-'));
});
afterAll(() => rm(directory, { recursive: true }));

function start(args: readonly string[]) {
  const env = { ...process.env, KAFKA_BROKERS: '' };
  return Bun.spawn([process.execPath, MAIN, ...args], { stdout: 'pipe', stderr: 'pipe', env });
}

async function run(args: readonly string[]) {
  const child = start(args);
  const [stdout, stderr, exitCode] = await Promise.all([
    child.stdout.text(),
    child.stderr.text(),
    child.exited,
  ]);
  return { stdout, stderr, exitCode };
}

describe('simulator command', () => {
  test('--help explains itself with examples', async () => {
    const { stdout, exitCode } = await run(['--help']);
    expect(exitCode).toBe(0);
    expect(stdout).toContain('Examples');
  });

  test('a wrong argument ends with 2 and says which', async () => {
    const { stdout, stderr, exitCode } = await run(['--stations', 'many']);
    expect({ stdout, exitCode }).toEqual({ stdout: '', exitCode: 2 });
    expect(stderr).toContain('--stations is "many"; give a whole number from 1');
  });

  test('a file and labels for training come out whole, the same for the same seed', async () => {
    const files = ['first', 'second'].map((name) => ({
      output: join(directory, `${name}.csv`),
      labels: join(directory, `${name}.jsonl`),
    }));
    for (const { output, labels } of files) {
      const { stdout, exitCode } = await run([
        '--to',
        'csv',
        '--output',
        output,
        '--labels',
        labels,
        '--readings',
        '20000',
        '--faults',
        '20',
        '--start',
        '2026-01-01',
      ]);
      expect(exitCode).toBe(0);
      const summary = JSON.parse(stdout) as { readings: number; faults: Record<string, number> };
      expect(stdout.split('\n').length).toBe(2);
      expect(summary.readings).toBe(20_000);
      const lines = (await readFile(labels, 'utf8')).trim().split('\n');
      expect(Object.values(summary.faults).reduce((sum, count) => sum + count, 0)).toBe(lines.length);
    }
    const [first, second] = await Promise.all(files.map(({ output }) => readFile(output, 'utf8')));
    expect(first?.split('\n').length).toBe(20_002);
    expect(second).toBe(first as string);
  });

  test('a broken file ends with 1 and names line and column', async () => {
    const file = join(directory, 'broken.csv');
    await Bun.write(file, 'time,a\n2026-01-01,x\n');
    const { stderr, exitCode } = await run([
      '--replay',
      file,
      '--to',
      'csv',
      '--output',
      join(directory, 'out.csv'),
    ]);
    expect(exitCode).toBe(1);
    expect(stderr).toContain(`${file}:2: column a: "x" is no number`);
  });

  test('a scorer that refuses ends with 1 and the reason', async () => {
    const server = Bun.serve({
      hostname: '127.0.0.1',
      port: 0,
      fetch: () => new Response('no thanks', { status: 400 }),
    });
    const { stdout, stderr, exitCode } = await run([
      '--url',
      server.url.href,
      '--readings',
      '3',
      '--rate',
      'max',
    ]);
    await server.stop(true);
    expect(exitCode).toBe(1);
    expect(JSON.parse(stdout)).toMatchObject({ messages: 3, failed: 3, failedReadings: 3, acknowledged: 0 });
    expect(stderr).toContain('answered 400 no thanks');
  });

  test('messages of which nobody knows whether they arrived are counted apart, and it ends with 1', async () => {
    const server = Bun.serve({
      hostname: '127.0.0.1',
      port: 0,
      fetch: () => new Response('unconfirmed', { status: 504 }),
    });
    const { stdout, stderr, exitCode } = await run([
      '--url',
      server.url.href,
      '--readings',
      '3',
      '--rate',
      'max',
    ]);
    await server.stop(true);
    expect(exitCode).toBe(1);
    expect(JSON.parse(stdout)).toMatchObject({ unconfirmed: 3, unconfirmedReadings: 3, failed: 0 });
    expect(stderr).toContain('3 messages may or may not have arrived and were not sent again');
  });

  test.each(['SIGTERM', 'SIGINT'] as const)('%s ends it with 0 and everything delivered', async (signal) => {
    let arrived = 0;
    const first = Promise.withResolvers<void>();
    const fetch = (): Response => {
      arrived += 1;
      first.resolve();
      return new Response(null, { status: 202 });
    };
    const server = Bun.serve({ hostname: '127.0.0.1', port: 0, fetch });
    const child = start(['--url', server.url.href, '--rate', '200']);
    await first.promise;
    child.kill(signal);
    const [stdout, exitCode] = await Promise.all([child.stdout.text(), child.exited]);
    await server.stop(true);
    expect(exitCode).toBe(0);
    expect(JSON.parse(stdout)).toMatchObject({ acknowledged: arrived, messages: arrived, failed: 0 });
  });

  test('a Kafka that is not there is named', async () => {
    const { stderr, exitCode } = await run(['--brokers', '127.0.0.1:1', '--readings', '1']);
    expect(exitCode).toBe(1);
    expect(stderr).toContain('topic readings on Kafka at 127.0.0.1:1');
  });
});
