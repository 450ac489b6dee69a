import { afterAll, beforeAll, expect, test } from 'bun:test';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parse } from 'csv-parse/sync';
import { parseNumber } from '../src/score-csv.ts';
import { drawForest, drawRow, type PlainForest, writeForest } from './forest-writer.ts';
import { pathLengthSum } from './plain-forest.ts';
import { reasonsOf } from './plain-verdict.ts';
import { createRandom } from './random.ts';

const random = createRandom(4);
const forest: PlainForest = {
  ...drawForest(random, { featureCount: 3, treeCount: 20, depthMax: 8, hasGuards: true }),
  features: ['temperature', 'feels, "like"', 'größe'],
};
const folder = mkdtempSync(join(tmpdir(), 'lonetree-score-'));
const path = (name: string) => join(folder, name);
const model = path('m.forest');

beforeAll(() => writeFileSync(model, writeForest(forest)));
afterAll(() => rmSync(folder, { recursive: true }));

function run(...args: string[]) {
  const main = join(import.meta.dir, '../src/score-csv-main.ts');
  const { exitCode, stdout, stderr } = Bun.spawnSync([process.execPath, main, ...args], {
    stdout: 'pipe',
    stderr: 'pipe',
  });
  return { exitCode, stdout: stdout.toString(), stderr: stderr.toString() };
}

function score(text: string | Uint8Array, output = path('scores.csv')) {
  writeFileSync(path('rows.csv'), text);
  return run('--model', model, `--input=${path('rows.csv')}`, '--output', output);
}
const readScores = (file = path('scores.csv')) =>
  parse<Record<string, string>>(readFileSync(file), { columns: true });

const header = 'temperature,"feels, ""like""",größe';

test('scores every row as the plain forest does, features in any order among other columns', () => {
  const rows = Array.from({ length: 10_000 }, () => drawRow(random, 3));
  const cell = (value: number | undefined) =>
    Number.isFinite(value) ? String(value) : random.pick(['', 'NaN', ' nan', '-inf', 'NULL']);
  const lines = rows.map(([a, b, c], index) => `${cell(c)},"note ""${index}"",\n",${cell(a)},x,${cell(b)}`);
  const result = score(`\ufeffgröße,note,temperature,other,"feels, ""like"""\r\n${lines.join('\r\n')}`);
  expect(result).toEqual({
    exitCode: 0,
    stdout: '',
    stderr: expect.stringMatching(/^10,000 rows, [\d,]+ abnormal/),
  });
  expect(readFileSync(path('scores.csv'), 'utf8')).toStartWith(
    'row,score,decision,is_anomaly,reasons\n0,-0.',
  );
  const scores = readScores();
  expect(scores).toHaveLength(rows.length);
  for (const [index, row] of rows.entries()) {
    const sum = pathLengthSum(forest.trees, row);
    const expected = -(2 ** (-sum / forest.denominator));
    const reasons = reasonsOf(forest, row, sum);
    const {
      row: number,
      score: text,
      decision,
      is_anomaly,
      reasons: found,
    } = scores[index] as Record<string, string>;
    expect([number, is_anomaly, found]).toEqual([`${index}`, String(reasons.length > 0), reasons.join('+')]);
    expect(Math.abs(Number(text) - expected)).toBeLessThan(2.3e-16);
    expect(Number(decision)).toBe(Number(text) - forest.offset);
    expect((text as string).replace(/^-0\.0*/, '')).toMatch(/^\d{17}$/);
  }
});

test('blank lines are passed over, and a last line without a break counts', () => {
  expect(score(`${header}\n1,2,3\n\n4,5,6\n\n`).exitCode).toBe(0);
  expect(readScores()).toHaveLength(2);
  expect(score(`${header}\n1,2,3\n4,5,6`).exitCode).toBe(0);
  expect(readScores()).toHaveLength(2);
  expect(score(`${header}\n`).exitCode).toBe(0);
  expect(readScores()).toHaveLength(0);
});

test('with one column a blank line is a row with a missing value', async () => {
  const one = drawForest(random, { featureCount: 1, treeCount: 5, depthMax: 4 });
  writeFileSync(path('one.forest'), writeForest({ ...one, features: ['x'] }));
  writeFileSync(path('one.csv'), 'x\n1\n\n2\n');
  expect(
    run('--model', path('one.forest'), '--input', path('one.csv'), '--output', path('one.out')).exitCode,
  ).toBe(0);
  const sum = pathLengthSum(one.trees, [Number.NaN]);
  expect(readScores(path('one.out')).map(({ row }) => row)).toEqual(['0', '1', '2']);
  expect(Number(readScores(path('one.out'))[1]?.score)).toBeCloseTo(-(2 ** (-sum / one.denominator)), 14);
});

test('numbers are decimal; blanks, nan, na, null, none and infinities are missing; anything else is refused', () => {
  for (const text of ['0', '-0', '00', '1', ' 1.5 ', '-1e3', '+.5', '5.', '1E-400'])
    expect(parseNumber(text)).toBe(Number(text));
  for (const text of [
    '',
    '  ',
    'nan',
    'NaN',
    ' NA',
    'null',
    'None',
    'inf',
    '-Inf',
    'Infinity',
    '+infinity',
    '3.4e38',
    '-1e999',
  ]) {
    expect(parseNumber(text)).toBeNaN();
  }
  for (const text of [
    'x',
    '1,5',
    '0x10',
    ' 0x10',
    '0b1',
    '0O7',
    '1_000',
    '1 000',
    '12°',
    '-',
    'e5',
    'true',
  ]) {
    expect(parseNumber(text)).toBeNull();
  }
});

const badInputs: [what: string, text: string | Uint8Array, message: RegExp][] = [
  ['an empty file', '', /rows\.csv, line 1: The file is empty/],
  [
    'a feature that is not there',
    'temperature,x\n1,2\n',
    /line 1: The model needs the column "feels, "like""; the header has "temperature", "x"\. Name/,
  ],
  [
    'semicolons',
    'temperature;größe\n1;2\n',
    /line 1: The model needs the column "temperature"; .*separated by commas/,
  ],
  ['a feature twice', `${header},größe\n`, /line 1: The column "größe" stands twice/],
  [
    'a text for a number',
    `${header}\n1,2,3\n1,"a\nb",2\n1,warm,3\n`,
    /line 3: Column 2, "feels, "like"": "a\nb" is not a number\. Write/,
  ],
  [
    'a text after a line break in quotes',
    `${header},n\n1,2,3,"x\ny"\n1,2,warm,n\n`,
    /line 4: Column 3, "größe": "warm" is not a number/,
  ],
  ['too few cells', `${header}\n1,2,3\n1,2\n`, /line 3: It has 2 cells, but the header names 3 columns/],
  ['too many cells', `${header}\n1,2,3,4\n`, /line 2: It has 4 cells, but the header names 3 columns/],
  ['an open quote', `${header}\n1,2,"3\n`, /line 2: A quoted cell is not closed/],
  [
    'another kind of file',
    Uint8Array.from({ length: 3_000_000 }, () => 1 + random.below(9)),
    /line 1: The record that begins here is longer/,
  ],
];

for (const [what, text, message] of badInputs) {
  test(`names file, line and column of ${what}, exits with 1 and leaves the output as it was`, () => {
    writeFileSync(path('kept.csv'), 'kept');
    expect(score(text, path('kept.csv'))).toMatchObject({
      exitCode: 1,
      stdout: '',
      stderr: expect.stringMatching(message),
    });
    expect(readFileSync(path('kept.csv'), 'utf8')).toBe('kept');
    expect(readdirSync(folder).filter((name) => name.endsWith('.part'))).toEqual([]);
  });
}

test('a model that is refused, and files that are not there, are named and end with 1', () => {
  writeFileSync(path('rows.csv'), `${header}\n1,2,3\n`);
  const output = path('none.csv');
  const bad = run('--model', path('rows.csv'), '--input', path('rows.csv'), '--output', output);
  expect(bad).toMatchObject({
    exitCode: 1,
    stderr: expect.stringMatching(/rows\.csv: The forest file is refused \(\w+\)/),
  });
  for (const [from, to] of [
    ['absent.forest', 'rows.csv'],
    ['m.forest', 'absent.csv'],
  ] as const) {
    const absent = run('--model', path(from), '--input', path(to), '--output', output);
    expect(absent).toMatchObject({ exitCode: 1, stderr: expect.stringMatching(/absent\.(forest|csv)/) });
  }
  const directory = run('--model', model, '--input', folder, '--output', output);
  expect(directory).toMatchObject({ exitCode: 1, stderr: expect.stringContaining(`${folder} is a folder`) });
  const nowhere = run('--model', model, '--input', path('rows.csv'), '--output', path('no/such/folder.csv'));
  expect(nowhere).toMatchObject({ exitCode: 1, stderr: expect.stringContaining('no/such/folder.csv') });
  expect(existsSync(output)).toBe(false);
});

test('a wrong command line ends with 2 and points to --help, which explains all options', () => {
  const complete = ['--model', model, '--input', path('rows.csv'), '--output', path('o.csv')];
  const wrong: [args: string[], message: RegExp][] = [
    [[], /Give --model and --input and --output/],
    [['--model', model], /Give --input and --output/],
    [[...complete, '--fast'], /--fast/],
    [[...complete, 'extra'], /extra/],
    [complete.slice(0, -1), /output/],
    [[...complete.slice(0, -1), path('rows.csv')], /--output names the file that is read/],
  ];
  for (const [args, message] of wrong) {
    expect(run(...args)).toMatchObject({ exitCode: 2, stdout: '', stderr: expect.stringMatching(message) });
    expect(run(...args).stderr).toContain('--help');
  }
  const help = run('--help');
  expect(help.exitCode).toBe(0);
  expect(help.stdout).toMatch(
    /--model[\s\S]*--input[\s\S]*--output[\s\S]*nan, na, null, none[\s\S]*Exit status/,
  );
});

test('writes to a pipe as it comes', () => {
  writeFileSync(path('rows.csv'), `${header}\n1,2,3\n`);
  const main = join(import.meta.dir, '../src/score-csv-main.ts');
  const command = [
    process.execPath,
    main,
    '--model',
    model,
    '--input',
    path('rows.csv'),
    '--output',
    '/dev/stdout',
  ];
  const { stdout } = Bun.spawnSync(['sh', '-c', '"$@" | cat', 'sh', ...command]);
  expect(stdout.toString()).toMatch(/^row,.*\n0,-0.*\n$/);
});
