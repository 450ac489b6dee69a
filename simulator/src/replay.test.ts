// Proves that a file's readings come out as they stand in it, and that a bad file is named with line and
// column.
import { afterAll, beforeAll, describe, expect, test } from 'bun:test';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fromBinary } from '@bufbuild/protobuf';
import { type SensorBatch, SensorBatchSchema } from '@lonetree/proto';
import { parseTime, type ReplayOptions, replay } from './replay.ts';

const NAB = join(import.meta.dir, '../../data/nab');
let directory = '';

beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'lonetree-replay-'));
});
afterAll(() => rm(directory, { recursive: true }));

async function play(
  options: Partial<ReplayOptions> & { file: string },
): Promise<{ batches: SensorBatch[]; dues: number[] }> {
  const batches: SensorBatch[] = [];
  const dues: number[] = [];
  for await (const { value, dueMs } of replay({ speed: 1, batchSize: 1, ...options })) {
    batches.push(fromBinary(SensorBatchSchema, value));
    dues.push(dueMs);
  }
  return { batches, dues };
}

async function fileOf(text: string): Promise<string> {
  const file = join(directory, 'sensor.csv');
  await writeFile(file, text);
  return file;
}

const times = (batches: readonly SensorBatch[]): string[] =>
  batches.map(({ baseTimeMs }) => new Date(Number(baseTimeMs)).toISOString());
const valuesOf = (batches: readonly SensorBatch[]): number[][] =>
  batches.map(({ columns }) => columns.map(({ values }) => values[0] as number));

describe('replay', () => {
  test('machine temperature comes whole, with its step back in time', async () => {
    const { batches } = await play({
      file: join(NAB, 'machine_temperature_system_failure.csv'),
      batchSize: 1_000,
    });
    const deltas = batches.flatMap(({ timeDeltasMs }) => timeDeltasMs);
    expect(deltas.length).toBe(22_695);
    const starts = batches.map(
      ({ baseTimeMs, timeDeltasMs }) => baseTimeMs + timeDeltasMs.reduce((sum, delta) => sum + delta, 0n),
    );
    const between = batches.slice(1).map(({ baseTimeMs }, index) => baseTimeMs - (starts[index] as bigint));
    expect([...deltas, ...between].filter((delta) => delta < 0n).length).toBe(1);
    expect(batches[0]?.stations).toEqual(['machine_temperature_system_failure']);
    expect(batches[0]?.columns.map(({ name }) => name)).toEqual(['value']);
    expect(batches[0]?.columns[0]?.values[0]).toBe(Math.fround(73.96732207));
    expect(times(batches)[0]).toBe('2013-12-02T21:15:00.000Z');
  });

  test('ambient temperature comes whole, its gap waited for at the chosen speed', async () => {
    const file = join(NAB, 'ambient_temperature_system_failure.csv');
    const { batches, dues } = await play({ file, speed: 3_600 });
    expect(batches.length).toBe(7_267);
    const spanMs = Number((batches.at(-1)?.baseTimeMs ?? 0n) - (batches[0]?.baseTimeMs ?? 0n));
    expect(dues.at(-1)).toBeCloseTo(spanMs / 3_600, 3);
  });

  test('speed divides the waits, and a step back costs none', async () => {
    const file = await fileOf(
      'time,a\n2026-01-01T00:00:00Z,1\n2026-01-01T00:01:00Z,2\n2026-01-01T00:00:30Z,3\n2026-01-01T00:01:30Z,4\n',
    );
    const { batches, dues } = await play({ file, speed: 60 });
    expect(dues).toEqual([0, 1_000, 1_000, 2_000]);
    expect(times(batches)[2]).toBe('2026-01-01T00:00:30.000Z');
    expect((await play({ file, speed: null })).dues).toEqual([0, 0, 0, 0]);
  });

  test('times can be moved, all alike', async () => {
    const file = await fileOf('time,a\n2026-01-01,1\n2026-01-03,2\n');
    const { batches } = await play({ file, firstTimeMs: Date.UTC(2030, 5, 1) });
    expect(times(batches)).toEqual(['2030-06-01T00:00:00.000Z', '2030-06-03T00:00:00.000Z']);
  });

  test('columns can be chosen, quoted and empty cells are understood', async () => {
    const file = await fileOf(
      '\ufeff"when, exactly",a,note,b\r\n1770000000,1.5,"x,y",\r\n\r\n1770000000250,nan,z,-2e3\r\n',
    );
    const { batches } = await play({
      file,
      timeColumn: 'when, exactly',
      features: ['b', 'a'],
      station: 'pump',
    });
    expect(batches.map(({ columns }) => columns.map(({ name }) => name))).toEqual([
      ['b', 'a'],
      ['b', 'a'],
    ]);
    expect(valuesOf(batches)).toEqual([
      [Number.NaN, 1.5],
      [-2_000, Number.NaN],
    ]);
    expect(times(batches)).toEqual(['2026-02-02T02:40:00.000Z', '2026-02-02T02:40:00.250Z']);
    expect(batches[0]?.stations).toEqual(['pump']);
  });

  test('a count ends the replay early', async () => {
    const file = await fileOf('time,a\n2026-01-01,1\n2026-01-02,2\n2026-01-03,broken\n');
    expect((await play({ file, readingCountMax: 2 })).batches.length).toBe(2);
  });

  test.each([
    ['', {}, 'sensor.csv:1: the file is empty'],
    ['a,b\n1,2\n', {}, 'sensor.csv:1: no time column among a, b'],
    ['time,b\n1,2\n', { timeColumn: 'when' }, 'sensor.csv:1: no column when among time, b'],
    ['time,b\n1,2\n', { features: ['c'] }, 'sensor.csv:1: no column c among time, b'],
    ['time,b,b\n1,2,3\n', {}, 'sensor.csv:1: two columns are called b'],
    ['time\n1\n', {}, 'sensor.csv:1: only a time column'],
    ['time,b\n2026-01-01,1\nyesterday,2\n', {}, 'sensor.csv:3: column time: "yesterday" is no time'],
    ['time,b\n2026-01-01,1\n\n2026-01-02,high\n', {}, 'sensor.csv:4: column b: "high" is no number'],
    ['time,b\n2026-01-01,1\n2026-01-02,1,2\n', {}, 'sensor.csv:3: '],
    ['time,b\n2026-01-01,"1\n', {}, 'sensor.csv:'],
  ])('%j with %p is refused', async (text, options, message) => {
    const file = await fileOf(text);
    await expect(play({ file, ...options })).rejects.toThrow(message);
  });

  test('a file that is not there is named', async () => {
    await expect(play({ file: join(directory, 'absent.csv') })).rejects.toThrow('absent.csv');
  });

  test.each([
    ['2026-01-01', '2026-01-01T00:00:00.000Z'],
    ['2026-01-01 06:30', '2026-01-01T06:30:00.000Z'],
    ['2026-01-01T06:30:15.250+02:00', '2026-01-01T04:30:15.250Z'],
    ['1767225600', '2026-01-01T00:00:00.000Z'],
    ['1767225600.5', '2026-01-01T00:00:00.500Z'],
    ['1767225600000', '2026-01-01T00:00:00.000Z'],
  ])('%s is %s', (text, expected) => {
    expect(new Date(parseTime(text, 'test')).toISOString()).toBe(expected);
  });

  test.each(['', '01/02/2026', '2026-13-01', '2026-01-01T25:00', 'NaN', '-5'])('%j is no time', (text) => {
    expect(() => parseTime(text, 'rows.csv:2')).toThrow('rows.csv:2');
  });
});
