// Proves that a CSV file holds the readings to the bit.
import { afterAll, beforeAll, describe, expect, test } from 'bun:test';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createBatcher } from './batch.ts';
import { createCsvPublisher } from './csv-publisher.ts';

let directory = '';
beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'lonetree-csv-'));
});
afterAll(() => rm(directory, { recursive: true }));

describe('csv publisher', () => {
  test('writes header, time, station and values; missing is empty; names are quoted where they need it', async () => {
    const file = join(directory, 'rows.csv');
    const features = [
      { name: 'a', unit: '' },
      { name: 'b, "c"', unit: '' },
    ];
    const batcher = createBatcher({
      stations: ['one', 'two, three'],
      features,
      batchSize: 1,
      gatewayCount: 1,
      isStaggered: false,
    });
    const rows = [
      { stationIndex: 0, timeMs: Date.UTC(2026, 0, 1), values: Float32Array.of(0.1, Number.NaN) },
      { stationIndex: 1, timeMs: Date.UTC(2026, 0, 1, 0, 0, 1, 5), values: Float32Array.of(-1e-20, 3) },
    ];
    const publisher = createCsvPublisher(file);
    for (const row of rows)
      await publisher.publish([batcher.add(row, 0)].filter((message) => message !== null));
    await publisher.close();
    const lines = (await readFile(file, 'utf8')).split('\n');
    expect(lines[0]).toBe('time,station,a,"b, ""c"""');
    expect(lines[1]).toBe('2026-01-01T00:00:00.000Z,one,0.10000000149011612,');
    expect(lines[2]).toStartWith('2026-01-01T00:00:01.005Z,"two, three",-');
    expect(Number(lines[2]?.split(',').at(-2))).toBe(Math.fround(-1e-20));
    expect(lines.slice(3)).toEqual(['']);
  });

  test('a file that cannot be written is an error, not a silence', async () => {
    const publisher = createCsvPublisher(join(directory, 'absent', 'rows.csv'));
    await expect(publisher.close()).rejects.toThrow('absent');
  });
});
