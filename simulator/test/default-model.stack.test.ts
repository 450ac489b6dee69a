// Proves that the shipped model is what training on the simulator's readings gives, from the seed to the file.
import { afterAll, beforeAll, describe, expect, test } from 'bun:test';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type ForestSections, float64s, readSections, uint32At } from './forest-sections.ts';

const BUILD = join(import.meta.dir, '../../devstack/src/default-model.ts');
const SHIPPED = join(import.meta.dir, '../../models/default.forest');
const TIMEOUT_MS = 600_000;
/** numpy's logarithm and power differ in the last bit from one type of processor to another. */
const RELATIVE_TOLERANCE = 1e-12;

let directory = '';
let shipped: ForestSections;
let trained: ForestSections;

beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'lonetree-model-'));
  const output = join(directory, 'again.forest');
  const child = Bun.spawn([process.execPath, BUILD, '--output', output], {
    stdout: 'ignore',
    stderr: 'inherit',
  });
  if ((await child.exited) !== 0) throw new Error('training again failed; what it said stands above');
  shipped = readSections(new Uint8Array(await readFile(SHIPPED)));
  trained = readSections(new Uint8Array(await readFile(output)));
}, TIMEOUT_MS);
afterAll(() => rm(directory, { recursive: true, force: true }));

function section(forest: ForestSections, id: string): Uint8Array {
  const found = forest.sections.get(id);
  if (found === undefined) throw new Error(`the forest has no section ${id}`);
  return found;
}

function expectClose(left: readonly number[], right: readonly number[]): void {
  expect(left.length).toBe(right.length);
  for (const [index, value] of left.entries()) {
    const other = right[index] as number;
    const scale = Math.max(Math.abs(value), Math.abs(other));
    if (Math.abs(value - other) > RELATIVE_TOLERANCE * scale) expect(value).toBe(other);
  }
}

/** JSON with its numbers taken out, and the numbers. */
function takeNumbers(value: unknown): { readonly text: string; readonly numbers: number[] } {
  const numbers: number[] = [];
  const text = JSON.stringify(value, (_, part: unknown) => {
    if (typeof part !== 'number') return part;
    numbers.push(part);
    return 'number';
  });
  return { text, numbers };
}

describe('models/default.forest', () => {
  test('has the counts and sections that training gives', () => {
    expect(trained.counts).toEqual(shipped.counts);
    expect([...trained.sections.keys()]).toEqual([...shipped.sections.keys()]);
  });

  test.each(['FEAT', 'TREE', 'NODE'])(
    '%s, features, structure and thresholds, is the same bit for bit',
    (id) => {
      expect(Buffer.from(section(trained, id)).equals(section(shipped, id))).toBe(true);
    },
  );

  test('denominator, offset and sum threshold are the same', () => {
    expectClose(trained.header, shipped.header);
  });

  test('path lengths, self-test and training summary are the same', () => {
    expectClose(float64s(section(trained, 'VALU')), float64s(section(shipped, 'VALU')));
    const rowCount = uint32At(section(shipped, 'TEST'), 0);
    expect(uint32At(section(trained, 'TEST'), 0)).toBe(rowCount);
    expectClose(
      float64s(section(trained, 'TEST'), 8, rowCount),
      float64s(section(shipped, 'TEST'), 8, rowCount),
    );
    const rowsOf = (forest: ForestSections) =>
      Buffer.from(section(forest, 'TEST').subarray(8 + 8 * rowCount));
    expect(rowsOf(trained).equals(rowsOf(shipped))).toBe(true);
    expectClose(float64s(section(trained, 'SUMM'), 8), float64s(section(shipped, 'SUMM'), 8));
  });

  test('guards are the same', () => {
    const [left, right] = [section(trained, 'GARD'), section(shipped, 'GARD')];
    const knotCount = uint32At(right, 8);
    expect(uint32At(left, 8)).toBe(knotCount);
    expectClose(float64s(left, 0, 1), float64s(right, 0, 1));
    expectClose(float64s(left, 16, 2 * knotCount), float64s(right, 16, 2 * knotCount));
    for (let place = 16 + 16 * knotCount; place < right.length; place += 40) {
      expectClose(float64s(left, place, 4), float64s(right, place, 4));
      expect(uint32At(left, place + 32)).toBe(uint32At(right, place + 32));
    }
  });

  test('what it says of itself is the same', () => {
    const metaOf = (forest: ForestSections) =>
      takeNumbers(JSON.parse(new TextDecoder().decode(section(forest, 'META'))) as unknown);
    expect(metaOf(trained).text).toBe(metaOf(shipped).text);
    expectClose(metaOf(trained).numbers, metaOf(shipped).numbers);
  });
});
