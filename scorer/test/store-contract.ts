// What every Store promises, as tests that run against any of them, with blocks that the real engine has scored.
import { afterEach, beforeAll, beforeEach, describe, expect, test } from 'bun:test';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { Engine } from '@lonetree/core-wasm';
import type { Message } from '../src/broker.ts';
import { scoreMessages, toBatches } from '../src/pipeline.ts';
import { encodeReadings, type JsonReading } from '../src/reading-json.ts';
import type {
  AnomalyRecord,
  PredictionRecord,
  ReadingQuery,
  ShadowScores,
  Store,
  Verdicts,
} from '../src/store.ts';

export type StoreFixture = {
  /** Another client of the same database, for that consumer group and the topic `readings`. */
  open(group: string): Store;
  /** Rows as the database has them. */
  query(statement: string): Promise<readonly unknown[]>;
  /** Closes what was opened and removes the database. */
  dispose(): Promise<void>;
};

const modelFile = join(import.meta.dir, '..', '..', 'models', 'default.forest');
const registered = { name: 'default', version: '3' };
const startMs = Date.UTC(2026, 10, 23, 12);

type Reading = { readonly station?: string; readonly timeMs?: number; readonly temperature?: number | null };

const toJsonReading = ({ station = 'a', timeMs = startMs, temperature = 28 }: Reading): JsonReading => ({
  station,
  timeMs,
  values: {
    temperature,
    humidity: 17.5,
    sound: 54.3,
  },
});

function toMessage(offset: number, readings: readonly Reading[]): Message {
  const encoded = encodeReadings(readings.map(toJsonReading));
  if ('rejected' in encoded) throw new Error(encoded.rejected.detail);
  return { offset, timeMs: startMs, key: null, value: encoded.batch, contentType: null, headers: {} };
}

/** Beyond the model's range limit, so abnormal. */
const hot = 1_000;

export function describeStore(name: string, makeFixture: () => Promise<StoreFixture>): void {
  describe(name, () => {
    let engine: Engine;
    let fixture: StoreFixture;
    let store: Store;
    let modelId: number;

    /** The verdicts on messages of one block, each of them a list of readings. */
    function score(from: bigint, messages: readonly (readonly Reading[])[], partition = 0): Verdicts {
      const fetched = messages.map((readings, index) => toMessage(Number(from) + index, readings));
      const next = from + BigInt(messages.length);
      const batches = toBatches({ partition, from, next, messages: fetched });
      return scoreMessages({ engine, modelId, version: registered.version }, 'readings', batches, 0).verdicts;
    }
    const everything: ReadingQuery = { limit: 1_000 };

    beforeAll(async () => {
      engine = await Engine.load(readFileSync(modelFile));
    });
    beforeEach(async () => {
      fixture = await makeFixture();
      store = fixture.open('group');
      await store.migrate();
      await store.maintain(Date.now());
      modelId = await store.registerModel(engine.model, registered);
    });
    afterEach(() => fixture.dispose());

    test('migrating again, also by two at once, changes nothing', async () => {
      await store.position(0, 3n);
      await Promise.all([store.migrate(), fixture.open('group').migrate()]);
      expect((await store.position(0, 9n)).next).toBe(3n);
    });

    test('a model has one id however often it is recorded, and another model another', async () => {
      expect(await store.registerModel(engine.model, { ...registered, name: 'renamed' })).toBe(modelId);
      const other = { ...engine.model, sha256: 'b'.repeat(64), features: ['x', 'größe "1", {2}'] };
      expect(await store.registerModel(other, { name: 'other', version: '4' })).not.toBe(modelId);
    });

    test('the same file under another version is another model, and both keep their rows apart', async () => {
      await store.position(0, 0n);
      const laterId = await store.registerModel(engine.model, { ...registered, version: '10' });
      expect(laterId).not.toBe(modelId);
      expect(await store.registerModel(engine.model, registered)).toBe(modelId);
      await store.write(score(0n, [[{ temperature: hot }]]));
      await store.write({ ...score(1n, [[{ temperature: hot }]]), modelId: laterId });
      for (const list of [store.predictions, store.anomalies]) {
        const versions = (await list(everything)).map(({ offset, modelVersion }) => [offset, modelVersion]);
        expect(versions).toEqual([
          [1n, '10'],
          [0n, '3'],
        ]);
      }
      expect((await store.position(0, 0n)).anomalies.map(({ modelVersion }) => modelVersion)).toEqual(['10']);
    });

    test('every use of a model is recorded in its order, the same one also twice', async () => {
      const swap = {
        scorer: 'scorer-1',
        modelId,
        version: '3',
        sha256: engine.model.sha256,
        cause: 'request',
        requestedBy: 'O’Neil',
        why: 'größe "1"',
      } as const;
      await store.recordSwap({ ...swap, cause: 'start' });
      await store.recordSwap(swap);
      await store.recordSwap(swap);
      const rows = await fixture.query(
        'select scorer, model_id, version, sha256, cause, requested_by, why from model_swap order by id',
      );
      const expected = {
        scorer: 'scorer-1',
        model_id: modelId,
        version: '3',
        sha256: engine.model.sha256,
        cause: 'request',
        requested_by: 'O’Neil',
        why: 'größe "1"',
      };
      expect(rows).toEqual([{ ...expected, cause: 'start' }, expected, expected]);
      expect(await fixture.query('select 1 from model_swap where at is null')).toEqual([]);
    });

    test('what champion and challenger say is kept aside, row by row, as often as it is written', async () => {
      await store.position(3, 2n ** 40n);
      const messages = [
        [{ station: 'O’Neil "x" \\ , {}\t', timeMs: Date.UTC(2099, 11, 31, 23, 59, 59, 999) }],
        [
          { station: 'Süd 站 🌡', timeMs: startMs, temperature: hot },
          { station: 'b', timeMs: startMs + 1, temperature: 29 },
        ],
      ];
      const { block } = score(2n ** 40n, messages, 3);
      const challenger = [...block.scores];
      const championScores = Float64Array.of(-0.25, -0.5, -1 / 3);
      const scores: ShadowScores = {
        partition: 3,
        championModelId: 17,
        challengerModelId: modelId,
        block,
        offsets: [2 ** 40, 2 ** 40 + 7],
        championScores,
        championIsAnomaly: Uint8Array.of(1, 0, 0),
      };
      const writing = store.writeShadow(scores);
      score(9n, [Array.from({ length: 500 }, () => ({ station: 'second', temperature: hot }))]);
      await writing;
      const rows = await fixture.query(`select topic, partition, "offset", row, station, champion_model_id,
        challenger_model_id, champion_score, challenger_score, champion_is_anomaly, challenger_is_anomaly, time
        from shadow_score order by "offset", row`);
      const plain = rows.map((row) =>
        Object.values(row as object).map((value, column) => (column === 11 ? Number(value) : simple(value))),
      );
      const [first, second] = [2 ** 40, 2 ** 40 + 7];
      const both = (offset: number, row: number, index: number) => [
        ...['readings', 3, offset, row, messages.flat()[index]?.station, 17, modelId],
        ...[championScores[index], challenger[index], index === 0 ? 1 : 0, index === 1 ? 1 : 0],
        messages.flat()[index]?.timeMs,
      ];
      expect(plain).toEqual([both(first, 0, 0), both(second, 0, 1), both(second, 1, 2)]);
      expect(await store.predictions(everything)).toEqual([]);
      expect(await store.anomalies(everything)).toEqual([]);
      expect((await store.position(3, 0n)).next).toBe(2n ** 40n);

      const again = store.writeShadow({ ...scores, block: score(2n ** 40n, messages, 3).block });
      await again;
      expect(await fixture.query('select 1 from shadow_score')).toHaveLength(6);
    });

    test('shadow scores that are not taken leave nothing behind, and blocks are stored all the same', async () => {
      await store.position(0, 0n);
      await fixture.query('alter table shadow_score rename to shadow_score_away');
      const { block } = score(0n, [[{}]]);
      const scores: ShadowScores = {
        ...{ partition: 0, championModelId: 1, challengerModelId: 2, block, offsets: [0] },
        championScores: Float64Array.of(-0.5),
        championIsAnomaly: Uint8Array.of(0),
      };
      await expect(store.writeShadow(scores)).rejects.toThrow('shadow_score');
      expect(await store.write(score(0n, [[{}]]))).toBe(true);
      await fixture.query('alter table shadow_score_away rename to shadow_score');
      await store.writeShadow({ ...scores, block: score(1n, [[{}]]).block });
      expect(await fixture.query('select 1 from shadow_score')).toHaveLength(1);
    });

    test('events and shadow scores have their tables', async () => {
      await fixture.query(`insert into event (kind, detail) values ('drift', '{"drifted": true}')`);
      expect(await fixture.query('select kind from event where at is not null')).toEqual([{ kind: 'drift' }]);
      const columns = `topic, partition, "offset", row, time, station, champion_model_id, challenger_model_id,
        champion_score, challenger_score, champion_is_anomaly, challenger_is_anomaly`;
      expect(await fixture.query(`select ${columns} from shadow_score`)).toEqual([]);
    });

    test('a position begins where the log does, and stays when the log begins later', async () => {
      expect(await store.position(0, 7n)).toEqual({ next: 7n, anomalies: [] });
      expect(await store.position(0, 9n)).toEqual({ next: 7n, anomalies: [] });
    });

    test('every partition and every group has a position of its own', async () => {
      await store.position(0, 0n);
      await store.position(1, 0n);
      const other = fixture.open('other');
      await other.position(0, 0n);
      expect(await store.write(score(0n, [[{}]]))).toBe(true);
      expect((await store.position(0, 0n)).next).toBe(1n);
      expect((await store.position(1, 0n)).next).toBe(0n);
      expect((await other.position(0, 0n)).next).toBe(0n);
    });

    test('a block is stored with its readings, scores and reasons as they are, and moves the position', async () => {
      await store.position(2, 40n);
      const verdicts = score(
        40n,
        [
          [
            { station: 'a', timeMs: startMs + 1, temperature: 28.1 },
            { station: 'b', timeMs: startMs + 2, temperature: hot },
          ],
          [{ station: 'a', timeMs: startMs + 3, temperature: null }],
        ],
        2,
      );
      const { block, anomalies } = verdicts;
      const scores = [...block.scores];
      const severities = [...block.severities];
      const isAnomaly = [...block.isAnomaly];
      const temperatures = [Math.fround(28.1), hot, null];
      expect(isAnomaly[1]).toBe(1);
      expect(await store.write(verdicts)).toBe(true);

      const stored = (await store.predictions(everything)).reverse();
      expect(stored).toHaveLength(3);
      for (const [index, prediction] of stored.entries()) {
        expect(prediction).toMatchObject({
          topic: 'readings',
          partition: 2,
          offset: index < 2 ? 40n : 41n,
          row: index === 1 ? 1 : 0,
          station: index === 1 ? 'b' : 'a',
          timeMs: startMs + index + 1,
          features: engine.model.features,
          score: scores[index],
          decision: (scores[index] as number) - engine.model.offset,
          isAnomaly: isAnomaly[index] === 1,
          modelSha256: engine.model.sha256,
        });
        expect(prediction.severity).toBeCloseTo(severities[index] as number, 5);
        const values = Object.fromEntries(engine.model.features.map((f, at) => [f, prediction.values[at]]));
        expect(asFloat32(values.temperature)).toBe(temperatures[index] as number | null);
        expect(asFloat32(values.humidity)).toBe(Math.fround(17.5));
      }
      expect(await store.anomalies(everything)).toEqual([...anomalies].reverse());
      expect(await store.position(2, 0n)).toEqual({ next: 42n, anomalies });
    });

    test('the position tells the last block’s anomalies, and only those', async () => {
      await store.position(0, 0n);
      const first = score(0n, [[{ temperature: hot }], [{}, { temperature: -hot }]]);
      const { anomalies } = first;
      expect(anomalies.map(({ id }) => id)).toEqual(['readings-0-0-0', 'readings-0-1-1']);
      await store.write(first);
      expect((await store.position(0, 0n)).anomalies).toEqual(anomalies);
      await store.write(score(2n, [[{}]]));
      expect((await store.position(0, 0n)).anomalies).toEqual([]);
    });

    test('anomalies come back as they are, whether few or many of a block', async () => {
      await store.position(0, 0n);
      let from = 0n;
      for (const count of [1, 256, 257, 700]) {
        const readings = Array.from({ length: count }, (_, row) => ({
          station: `größe "${row}" \\ {,}`,
          timeMs: startMs + row,
          temperature: row % 2 === 0 ? hot : -hot,
        }));
        const verdicts = score(from, [readings]);
        const expected = structuredClone(verdicts.anomalies);
        expect(expected).toHaveLength(count);
        expect(await store.write(verdicts)).toBe(true);
        const { next, anomalies } = await store.position(0, 0n);
        expect(anomalies).toEqual(expected);
        from = next;
      }
    });

    test('a block that begins elsewhere than at the position stores nothing and moves nothing', async () => {
      await store.position(0, 5n);
      for (const from of [4n, 6n]) {
        expect(await store.write(score(from, [[{ temperature: hot }]]))).toBe(false);
      }
      expect(await store.predictions(everything)).toEqual([]);
      expect(await store.anomalies(everything)).toEqual([]);
      expect((await store.position(0, 0n)).next).toBe(5n);
    });

    test('of two scorers with the same block one is fenced, and the block is stored once', async () => {
      await store.position(0, 0n);
      const rival = fixture.open('group');
      const written = await Promise.all([
        store.write(score(0n, [[{ temperature: hot }]])),
        rival.write(score(0n, [[{ temperature: hot }]])),
      ]);
      expect(written.filter(Boolean)).toHaveLength(1);
      expect(await store.predictions(everything)).toHaveLength(1);
      expect(await rival.anomalies(everything)).toHaveLength(1);
      expect(await rival.write(score(1n, [[{}]]))).toBe(true);
    });

    test('a partition without a position takes no block', async () => {
      expect(await store.write(score(0n, [[{}]]))).toBe(false);
      expect(await store.predictions(everything)).toEqual([]);
    });

    test('a block without a reading moves the position', async () => {
      await store.position(0, 0n);
      engine.begin();
      const empty: Verdicts = { ...score(0n, [[{}]]), offsets: new Float64Array(), anomalies: [] };
      engine.begin();
      expect(await store.write({ ...empty, block: engine.score() })).toBe(true);
      expect((await store.position(0, 0n)).next).toBe(1n);
      expect(await store.predictions(everything)).toEqual([]);
    });

    test('the engine’s memory may be used again while a block is being written', async () => {
      await store.position(0, 0n);
      const verdicts = score(0n, [[{ station: 'first', temperature: 28 }]]);
      const expected = verdicts.block.scores[0] as number;
      const writing = store.write(verdicts);
      score(9n, [Array.from({ length: 500 }, () => ({ station: 'second', temperature: hot }))]);
      expect(await writing).toBe(true);
      const [stored] = await store.predictions(everything);
      expect(stored).toMatchObject({ station: 'first', score: expected });
    });

    test('a gap is passed once, and only from the position', async () => {
      await store.position(0, 10n);
      await store.write(score(10n, [[{ temperature: hot }]]));
      expect(await store.skipGap(0, 10n, 50n)).toBe(false);
      expect(await store.skipGap(0, 11n, 50n)).toBe(true);
      expect(await store.skipGap(0, 11n, 50n)).toBe(false);
      expect(await store.position(0, 0n)).toEqual({ next: 50n, anomalies: [] });
    });

    test('offsets, times and names at their limits come back as they were', async () => {
      const offset = 2n ** 40n;
      const stations = ['O’Neil "x" \\ , {}\t\n', 'Süd 站 🌡', ' '];
      const times = [Date.UTC(2000), Date.UTC(2099, 11, 31, 23, 59, 59, 999), startMs];
      await store.position(0, offset);
      const readings = stations.map((station, index) => ({
        station,
        timeMs: times[index] as number,
        temperature: hot,
      }));
      expect(await store.write(score(offset, [readings]))).toBe(true);
      const byRow = (await store.anomalies(everything)).toSorted((a, b) => a.row - b.row);
      expect(byRow.map(({ station }) => station)).toEqual(stations);
      expect(byRow.map(({ timeMs }) => timeMs)).toEqual(times);
      expect(byRow.map((anomaly) => anomaly.offset)).toEqual([offset, offset, offset]);
      for (const station of stations) expect(await store.predictions({ station, limit: 9 })).toHaveLength(1);
    });

    test('rows come newest first, by station, from a time on, before a time, and no more than asked for', async () => {
      await store.position(0, 0n);
      const readings = Array.from({ length: 20 }, (_, index) => ({
        station: index % 2 === 0 ? 'even' : 'odd',
        timeMs: startMs + ((index * 7) % 20) * 1_000,
        temperature: hot,
      }));
      await store.write(score(0n, [readings.slice(0, 8), readings.slice(8)]));
      const seconds = (rows: readonly { readonly timeMs: number }[]) =>
        rows.map(({ timeMs }) => (timeMs - startMs) / 1_000);
      const descending = Array.from({ length: 20 }, (_, index) => 19 - index);
      for (const list of [store.predictions, store.anomalies]) {
        expect(seconds(await list(everything))).toEqual(descending);
        expect(seconds(await list({ limit: 3 }))).toEqual([19, 18, 17]);
        expect(seconds(await list({ fromMs: startMs + 5_000, toMs: startMs + 8_000, limit: 9 }))).toEqual([
          7, 6, 5,
        ]);
        expect(await list({ station: 'even', limit: 99 })).toHaveLength(10);
        expect(await list({ station: 'none', limit: 99 })).toEqual([]);
      }
    });

    test('a cursor leads through all rows once, also through many of one instant', async () => {
      await store.position(0, 0n);
      await store.position(1, 0n);
      const sameInstant = Array.from({ length: 5 }, () => ({ temperature: hot }));
      const later = Array.from({ length: 5 }, () => ({ temperature: hot, timeMs: startMs + 1 }));
      await store.write(score(0n, [sameInstant, later, sameInstant]));
      await store.write(score(0n, [sameInstant, later], 1));
      for (const list of [store.predictions, store.anomalies]) {
        const seen: string[] = [];
        for (let after: ReadingQuery['after']; ; ) {
          const page: readonly (PredictionRecord | AnomalyRecord)[] = await list({
            limit: 3,
            ...(after === undefined ? {} : { after }),
          });
          seen.push(...page.map(({ partition, offset, row }) => `${partition}-${offset}-${row}`));
          after = page.at(-1);
          if (page.length < 3) break;
        }
        expect(seen).toHaveLength(25);
        expect(new Set(seen).size).toBe(25);
        expect(seen.slice(0, 2)).toEqual(['1-1-4', '1-1-3']);
        expect(seen.at(-1)).toBe('0-0-0');
      }
    });

    test('rows are read with the features of the model that scored them', async () => {
      await store.position(0, 0n);
      const features = ['größe "1"', 'a,b', '{c}'];
      const other = { ...engine.model, sha256: 'c'.repeat(64), features, offset: -0.25 };
      const otherId = await store.registerModel(other, { name: 'other', version: '4' });
      await store.write(score(0n, [[{ timeMs: startMs }]]));
      await store.write({ ...score(1n, [[{ timeMs: startMs + 1 }]]), modelId: otherId });
      const [second, first] = await store.predictions(everything);
      expect(first).toMatchObject({ features: engine.model.features, modelSha256: engine.model.sha256 });
      expect(second).toMatchObject({ features, modelSha256: other.sha256 });
      expect(second?.decision).toBeCloseTo((second?.score ?? 0) + 0.25, 12);
    });

    test('a store that was closed is not ready', async () => {
      const other = fixture.open('other');
      expect(await other.isReady()).toBe(true);
      await other.close();
      expect(await other.isReady()).toBe(false);
    });
  });
}

const asFloat32 = (value: number | null | undefined) =>
  typeof value === 'number' ? Math.fround(value) : value;

/** As one of the databases says it and the other too. */
const simple = (value: unknown) =>
  typeof value === 'boolean' || typeof value === 'bigint' || /^\d{10,}$/.test(String(value))
    ? Number(value)
    : value;
