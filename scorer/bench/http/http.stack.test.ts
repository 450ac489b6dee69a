// The benchmark in its quickest form: right scores, the shape of the report, and what it says when it cannot run.
import { afterAll, beforeAll, expect, test } from 'bun:test';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { applyLoad, ensureWrk, packBodies } from './load.ts';
import type { Report } from './report.ts';

let folder: string;
beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'lonetree-bench-test-'));
  await ensureWrk();
}, 120_000);
afterAll(() => rmSync(folder, { recursive: true }));

async function runBench(args: readonly string[]) {
  const child = Bun.spawn([process.execPath, join(import.meta.dir, 'main.ts'), ...args], {
    stdout: 'pipe',
    stderr: 'pipe',
  });
  const [stdout, stderr, exitCode] = await Promise.all([
    child.stdout.text(),
    child.stderr.text(),
    child.exited,
  ]);
  return { stdout, stderr, exitCode };
}

test('servers that give scikit-learn’s scores are measured, as JSON and in a document', async () => {
  const [document, json] = [join(folder, 'numbers.md'), join(folder, 'numbers.json')];
  writeFileSync(document, 'before\n<!-- http:begin -->\nold\n<!-- http:end -->\nafter\n');
  const quick = ['--servers', 'lonetree,fastapi', '--seconds', '1', '--repetitions', '1'];
  const { stdout, stderr, exitCode } = await runBench([...quick, '--json', json, '--markdown', document]);
  expect(exitCode, stderr).toBe(0);
  const report = JSON.parse(stdout) as Report;
  expect(JSON.parse(readFileSync(json, 'utf8'))).toEqual(report);
  expect(report.missing).toEqual([]);
  expect(report.scoreDifferenceMax).toBeLessThan(2.3e-16);
  expect(report.http.map(({ rows, format, server }) => [rows, format, server])).toEqual([
    [1, 'json', 'lonetree'],
    [1, 'json', 'fastapi'],
    [1, 'protobuf', 'lonetree'],
    [64, 'json', 'lonetree'],
    [64, 'json', 'fastapi'],
    [64, 'protobuf', 'lonetree'],
  ]);
  for (const result of report.http) {
    for (const measured of [result.requestsPerSecond, result.p50Ms, result.p99Ms])
      expect(measured).toBeGreaterThan(0);
    expect(result.cpuMicrosecondsPerRequest).toBeGreaterThan(0);
  }
  const text = readFileSync(document, 'utf8');
  expect(text).toStartWith('before\n<!-- http:begin -->\n\n| readings a request |');
  expect(text).toEndWith('<!-- http:end -->\nafter\n');
  expect(text).not.toContain('old');
}, 120_000);

test('a server that answers with errors is not measured', async () => {
  let count = 0;
  const server = Bun.serve({
    hostname: '127.0.0.1',
    port: 0,
    fetch: () => {
      count += 1;
      return new Response('', { status: count % 100 === 0 ? 503 : 200 });
    },
  });
  const bodiesFile = join(folder, 'bodies');
  writeFileSync(bodiesFile, packBodies([new Uint8Array(3)]));
  const load = applyLoad({ url: server.url.href, contentType: 'text/plain', bodiesFile, seconds: 1 });
  await expect(load).rejects.toThrow('× status');
  await server.stop(true);
});

test('bodies of any bytes are sent in turn, as they are', async () => {
  const bodies = [Uint8Array.of(10, 0, 13, 10, 255), Uint8Array.of(0x31, 10), new Uint8Array(5_000).fill(10)];
  const seen = new Set<string>();
  const server = Bun.serve({
    hostname: '127.0.0.1',
    port: 0,
    fetch: async (request) => {
      seen.add(Buffer.from(await request.arrayBuffer()).toString('hex'));
      return new Response();
    },
  });
  const bodiesFile = join(folder, 'bytes');
  writeFileSync(bodiesFile, packBodies(bodies));
  await applyLoad({ url: server.url.href, contentType: 'text/plain', bodiesFile, seconds: 1 });
  await server.stop(true);
  expect([...seen].toSorted()).toEqual(bodies.map((body) => Buffer.from(body).toString('hex')).toSorted());
});

test.each([
  [['--seconds', '0.5'], '--seconds 0.5: give whole numbers'],
  [['--servers', 'fastapi'], 'give lonetree'],
  [['--speed', '1'], '--speed'],
])('%p ends with 2 and says what is wrong', async (args, complaint) => {
  const { stderr, exitCode } = await runBench(args);
  expect(exitCode).toBe(2);
  expect(stderr).toContain(complaint);
  expect(stderr).toContain('bun run bench:http');
});
