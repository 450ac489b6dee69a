import { afterAll, beforeAll, expect, test } from 'bun:test';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { ownNames, pythonNames, webNames } from './kernel.ts';
import { type Report, targetsOf, toMarkdown } from './report.ts';

// The quick form measures little; what it shows is that every peer and engine gives the right results.

const folder = mkdtempSync(join(tmpdir(), 'lonetree-bench-test-'));
const [json, markdown] = [join(folder, 'bench.json'), join(folder, 'BENCH.md')];
let report: Report;

const runBench = async (...args: string[]) => {
  const child = Bun.spawn([process.execPath, join(import.meta.dir, 'main.ts'), ...args], {
    stdout: 'pipe',
    stderr: 'pipe',
  });
  const [stdout, stderr] = await Promise.all([
    new Response(child.stdout).text(),
    new Response(child.stderr).text(),
  ]);
  return { exitCode: await child.exited, stdout, stderr };
};

beforeAll(async () => {
  writeFileSync(markdown, 'before\n<!-- bench:begin -->\nold\n<!-- bench:end -->\nafter\n');
  const { exitCode, stderr } = await runBench('--quick', '--json', json, '--markdown', markdown);
  if (exitCode !== 0) throw new Error(stderr);
  report = JSON.parse(readFileSync(json, 'utf8'));
}, 600_000);

afterAll(() => rmSync(folder, { recursive: true }));

test('every engine and peer is checked and measured, or said to be missing', () => {
  const measured = new Set(report.kernel.map(({ name }) => name));
  const missing = Object.keys(report.missing).map((name) => name.split(',')[0]);
  for (const name of [...ownNames, ...pythonNames, ...webNames])
    expect({ name, isThere: measured.has(name) || missing.includes(name) }).toEqual({ name, isThere: true });
  for (const name of ['walk', 'cells', 'grid', 'sklearn']) expect(measured).toContain(name);
});

test('each result says what was measured', () => {
  for (const { name, nsPerRow, spread, ...place } of report.kernel) {
    expect(place).toMatchObject({ trees: 100, samples: 256 });
    expect([64, 1_000]).toContain(place.batch);
    expect({ name, isTime: nsPerRow > 0 && spread >= 0 }).toEqual({ name, isTime: true });
  }
  expect(report.decode.map(({ name }) => name)).toEqual(['wasm', 'bufbuild', 'protobufjs', 'json']);
  expect(report.messages.map(({ name, features, rows }) => [name, features, rows])).toEqual([
    ['cells', 3, 1],
    ['cells', 3, 64],
    ['grid', 2, 1],
    ['grid', 2, 64],
    ['cells', 2, 1],
    ['cells', 2, 64],
  ]);
  expect(Object.keys(report.versions)).toContain('sklearn');
  expect(report.pause).toMatchObject([{ features: 3, trees: 100, samples: 256, loads: 1 }]);
});

test('the document’s part between the marks is rewritten, the rest is kept', () => {
  const text = readFileSync(markdown, 'utf8');
  expect(text).toStartWith('before\n<!-- bench:begin -->\n');
  expect(text).toEndWith('\n<!-- bench:end -->\nafter\n');
  expect(text).toContain(toMarkdown(report));
  expect(text).not.toContain('old');
});

test('a figure whose parts were not measured counts as missed, and says so', () => {
  const target = targetsOf(report).find(({ what }) => what === 'cells vs walk, 21 features');
  expect(target).toEqual({ what: 'cells vs walk, 21 features', unit: '×', goal: 1.5 });
  expect(toMarkdown(report)).toContain('| cells vs walk, 21 features | 1.5× | not measured | missed |');
});

test('ratios must reach their goal, times must not exceed it', () => {
  const result = { features: 3, trees: 100, samples: 256, batch: 1_000, spread: 0 };
  const made = (walk: number, p50Us: number): Report => ({
    ...report,
    kernel: [
      { ...result, name: 'walk', nsPerRow: walk },
      { ...result, name: 'cells', nsPerRow: 100 },
    ],
    messages: [{ name: 'cells', features: 3, rows: 1, p50Us, p99Us: 9 }],
  });
  expect(toMarkdown(made(420, 1))).toContain('| cells vs walk, 3 features | 4.2× | 4.2 × | met |');
  expect(toMarkdown(made(419, 1))).toContain('| cells vs walk, 3 features | 4.2× | 4.19 × | missed |');
  expect(toMarkdown(made(420, 1))).toContain('| Protobuf bytes → scores, 1 row, p50 | ≤ 1 µs | 1 µs | met |');
  expect(toMarkdown(made(420, 1.01))).toContain('| ≤ 1 µs | 1.01 µs | missed |');
});

test('without peers only what is ours, or needs no package of theirs, is measured, and none is called missing', async () => {
  const { exitCode, stdout, stderr } = await runBench('--quick', '--peers', 'none');
  expect({ exitCode, stderr }).toMatchObject({ exitCode: 0 });
  const { kernel, decode, missing } = JSON.parse(stdout) as Report;
  for (const { name } of kernel) expect(ownNames).toContain(name);
  expect(kernel.map(({ name }) => name)).toContain('cells');
  expect(decode.map(({ name }) => name)).toEqual(['wasm', 'bufbuild', 'json']);
  expect(Object.keys(missing).filter((name) => !name.startsWith('grid,'))).toEqual([]);
}, 120_000);

test.each([
  [['--peers', 'xgboost'], 'there is no peer xgboost. There are all, none, sklearn, '],
  [['--peers', 'none,sklearn'], 'there is no peer none.'],
  [['--nope'], "Unknown option '--nope'"],
  [['extra'], "Unexpected argument 'extra'"],
  [['--json'], "'--json <value>' argument missing"],
  [['--json', '/not-there/x.json'], '--json /not-there/x.json: there is no such folder'],
  [['--markdown', '/not-there/x.md'], "open '/not-there/x.md'"],
])('%p is refused before anything is measured', async (args, reason) => {
  const { exitCode, stdout, stderr } = await runBench(...args);
  expect({ exitCode, stdout }).toEqual({ exitCode: 2, stdout: '' });
  expect(stderr).toContain(reason);
  expect(stderr).not.toContain('    at ');
});
