// The store as tables of the embedded SQLite file: verdicts and position in one local transaction.
import { shortFloat32 } from './float32.ts';
import type { Database } from './sqlite.ts';
import type { AnomalyRecord, PredictionRecord, ReadingQuery, Segment, Store, Verdicts } from './store.ts';

export type SqliteStoreOptions = {
  readonly database: Database;
  readonly group: string;
  readonly topic: string;
  readonly retentionDays: number;
};

const dayMs = 86_400_000;
/** Rows that one step of the clean-up deletes: it must not hold up a block for long. */
const cleanUpRowsMax = 20_000;
/** Messages stay in the log for this long after they were scored. */
const logRetentionMs = dayMs;

export function createSqliteStore({ database, group, topic, retentionDays }: SqliteStoreOptions): Store {
  const insertPrediction = database.query('insert into prediction values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)');
  const insertAnomaly = database.query('insert into anomaly values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)');
  const movePosition = database.query(
    'update consumer_offset set next_offset = ?, block_offset = ? where consumer = ? and topic = ? and partition = ? and next_offset = ?',
  );
  const openPosition = database.query(
    'insert into consumer_offset values (?, ?, ?, ?, ?) on conflict do nothing',
  );
  const readPosition = database.query(
    'select next_offset, block_offset from consumer_offset where consumer = ? and topic = ? and partition = ?',
  );

  const writeAll = database.transaction((verdicts: Verdicts): boolean => {
    const { partition, from, next } = verdicts;
    if (movePosition.run(next, from, group, topic, partition, from).changes !== 1) return false;
    for (const segment of verdicts.segments) insertSegment(verdicts, segment);
    for (const a of verdicts.anomalies) {
      insertAnomaly.run(
        a.id,
        topic,
        partition,
        a.offset,
        a.row,
        a.timeMs,
        a.station,
        JSON.stringify(a.values),
        a.score,
        a.decision,
        a.severity,
        JSON.stringify(a.reasons),
        verdicts.modelId,
      );
    }
    return true;
  });

  function insertSegment(
    { partition, modelId, block }: Verdicts,
    { offset, rowStart, rowCount }: Segment,
  ): void {
    for (let index = 0; index < rowCount; index += 1) {
      const row = rowStart + index;
      const first = row * block.valueStride;
      // JSON writes NaN as null, which is what a missing value is.
      const values = JSON.stringify(
        Array.from(block.values.subarray(first, first + block.featureCount), shortFloat32),
      );
      const severity = block.severities[row] as number;
      insertPrediction.run(
        topic,
        partition,
        offset,
        index,
        block.times[row] as number,
        block.station(row),
        values,
        block.scores[row] as number,
        Number.isNaN(severity) ? null : severity,
        block.isAnomaly[row] as number,
        modelId,
      );
    }
  }

  return {
    migrate: () => Promise.resolve(), // Opening the file did it.

    registerModel(model, name) {
      database
        .query(
          'insert into model (sha256, name, features, score_offset) values (?, ?, ?, ?) on conflict do nothing',
        )
        .run(model.sha256, name, JSON.stringify(model.features), model.offset);
      const { id } = database.query('select id from model where sha256 = ?').get(model.sha256) as {
        id: number;
      };
      return Promise.resolve(id);
    },

    position(partition, start) {
      openPosition.run(group, topic, partition, start, start);
      const { next_offset: next, block_offset: from } = readPosition.get(group, topic, partition) as {
        next_offset: number;
        block_offset: number;
      };
      const anomalies = database
        .query(
          `${selectAnomalies} where topic = ? and partition = ? and "offset" >= ? and "offset" < ? order by "offset", row`,
        )
        .all(topic, partition, from, next) as AnomalyRow[];
      return Promise.resolve({ next: BigInt(next), anomalies: anomalies.map(readAnomaly) });
    },

    // Runs at once, before the block's memory is used again.
    write: (verdicts) => Promise.try(() => writeAll.immediate(verdicts)),

    skipGap(partition, from, to) {
      const skip = database.transaction(() => {
        if (movePosition.run(to, to, group, topic, partition, from).changes !== 1) return false;
        database
          .query(
            'insert into position_gap (consumer, topic, partition, from_offset, to_offset) values (?, ?, ?, ?, ?)',
          )
          .run(group, topic, partition, from, to);
        return true;
      });
      return Promise.resolve(skip.immediate());
    },

    predictions(query) {
      const rows = select<PredictionRow>(
        database,
        `select topic, partition, "offset", row, time, station, "values", features, score, score - score_offset as decision, severity,
           is_anomaly, sha256 from prediction join model on model.id = model_id`,
        query,
      );
      return Promise.resolve(
        rows.map((row): PredictionRecord => ({ ...readReading(row), isAnomaly: row.is_anomaly === 1 })),
      );
    },

    anomalies: (query) =>
      Promise.resolve(select<AnomalyRow>(database, selectAnomalies, query).map(readAnomaly)),

    maintain(nowMs) {
      const oldest = nowMs - retentionDays * dayMs;
      for (const table of ['prediction', 'anomaly']) {
        database
          .query(`delete from ${table} where rowid in (select rowid from ${table} where time < ? limit ?)`)
          .run(oldest, cleanUpRowsMax);
      }
      // The last message stays: it tells where the log begins.
      const scored = (readPosition.get(group, topic, 0) as { next_offset: number } | null)?.next_offset ?? 0;
      database
        .query(
          'delete from log where topic = ? and "offset" in (select "offset" from log where topic = ? and "offset" < ? and time_ms < ? order by "offset" limit ?)',
        )
        .run(topic, topic, scored - 1, nowMs - logRetentionMs, cleanUpRowsMax);
      // Nobody reads the other topics by position: they are kept as long as verdicts.
      database
        .query(
          'delete from log where topic <> ? and (topic, "offset") in (select topic, "offset" from log where topic <> ? and time_ms < ? limit ?)',
        )
        .run(topic, topic, oldest, cleanUpRowsMax);
      return Promise.resolve();
    },

    isReady: () => Promise.resolve(true),

    close() {
      database.close();
      return Promise.resolve();
    },
  };
}

type ReadingRow = {
  readonly topic: string;
  readonly partition: number;
  readonly offset: number;
  readonly row: number;
  readonly time: number;
  readonly station: string;
  readonly values: string;
  readonly features: string;
  readonly score: number;
  readonly decision: number;
  readonly severity: number | null;
  readonly sha256: string;
};
type PredictionRow = ReadingRow & { readonly is_anomaly: number };
type AnomalyRow = ReadingRow & { readonly id: string; readonly reasons: string };

const selectAnomalies = `select anomaly.id, topic, partition, "offset", row, time, station, "values", features, score, decision, severity,
  reasons, sha256 from anomaly join model on model.id = model_id`;

function select<Row>(
  database: Database,
  columns: string,
  { station, fromMs, toMs, after, limit }: ReadingQuery,
): Row[] {
  const conditions: string[] = ['true'];
  const parameters: (string | number | bigint)[] = [];
  const add = (condition: string, ...values: (string | number | bigint)[]) => {
    conditions.push(condition);
    parameters.push(...values);
  };
  if (station !== undefined) add('station = ?', station);
  if (fromMs !== undefined) add('time >= ?', fromMs);
  if (toMs !== undefined) add('time < ?', toMs);
  if (after !== undefined)
    add(
      '(time, partition, "offset", row) < (?, ?, ?, ?)',
      after.timeMs,
      after.partition,
      after.offset,
      after.row,
    );
  const order = 'order by time desc, partition desc, "offset" desc, row desc limit ?';
  return database
    .query(`${columns} where ${conditions.join(' and ')} ${order}`)
    .all(...parameters, limit) as Row[];
}

const readReading = ({
  offset,
  time,
  values,
  features,
  sha256,
  topic,
  partition,
  row,
  station,
  score,
  decision,
  severity,
}: ReadingRow) => ({
  topic,
  partition,
  offset: BigInt(offset),
  row,
  station,
  timeMs: time,
  values: JSON.parse(values) as (number | null)[],
  features: JSON.parse(features) as string[],
  score,
  decision,
  severity,
  modelSha256: sha256,
});

const readAnomaly = (row: AnomalyRow): AnomalyRecord => ({
  ...readReading(row),
  id: row.id,
  reasons: JSON.parse(row.reasons) as string[],
});
