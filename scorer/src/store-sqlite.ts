// The store as tables of the embedded SQLite file: verdicts and position in one local transaction.
import { shortFloat32 } from './float32.ts';
import type { Database } from './sqlite.ts';
import type {
  AnomalyRecord,
  PredictionRecord,
  ReadingQuery,
  ShadowScores,
  Store,
  Verdicts,
} from './store.ts';

export type SqliteStoreOptions = {
  readonly database: Database;
  readonly group: string;
  readonly topic: string;
  /** Verdicts are kept for this long after they were stored, and so is what was published. */
  readonly retentionDays: number;
};

const dayMs = 86_400_000;
/** Readings stay in the log for this long after it took them, if they are stored by then. */
const logRetentionMs = 3_600_000;
/** Rows that one step of the clean-up deletes: it must not hold up a block for long. */
const cleanUpRowsMax = 2_000;
/** A clean-up that is not done by then goes on at the next call: a start after a long pause waits no longer. */
const cleanUpMsMax = 5_000;

export function createSqliteStore({ database, group, topic, retentionDays }: SqliteStoreOptions): Store {
  const insertPrediction = database.query(
    'insert into prediction values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)',
  );
  const insertAnomaly = database.query(
    'insert into anomaly values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)',
  );
  const insertShadowScore = database.query(
    'insert into shadow_score values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)',
  );
  const movePosition = database.query(
    `update consumer_offset set next_offset = ?, block_offset = ?, reading_count = reading_count + ?
       where consumer = ? and topic = ? and partition = ? and next_offset = ?`,
  );
  const openPosition = database.query(
    `insert into consumer_offset (consumer, topic, partition, next_offset, block_offset) values (?, ?, ?, ?, ?)
       on conflict do nothing`,
  );
  const readPosition = database.query(
    'select next_offset, block_offset from consumer_offset where consumer = ? and topic = ? and partition = ?',
  );

  const writeAll = database.transaction((verdicts: Verdicts): boolean => {
    const { partition, from, next, block, anomalies } = verdicts;
    if (movePosition.run(next, from, block.rowCount, group, topic, partition, from).changes !== 1)
      return false;
    const storedAt = Date.now();
    let rowStart = 0;
    for (const [index, offset] of verdicts.offsets.entries()) {
      const rowCount = block.messageRows[index] as number;
      insertMessage(verdicts, { offset, rowStart, rowCount }, storedAt);
      rowStart += rowCount;
    }
    for (const a of anomalies) {
      // biome-ignore format: a row of the table
      insertAnomaly.run(
        a.id, topic, partition, a.offset, a.row, a.timeMs, a.station, JSON.stringify(a.values),
        a.score, a.decision, a.severity, JSON.stringify(a.reasons), verdicts.modelId, storedAt,
      );
    }
    return true;
  });

  function insertMessage(
    { partition, modelId, block }: Verdicts,
    message: { readonly offset: number; readonly rowStart: number; readonly rowCount: number },
    storedAt: number,
  ): void {
    for (let index = 0; index < message.rowCount; index += 1) {
      const row = message.rowStart + index;
      const severity = block.severities[row] as number;
      // biome-ignore format: a row of the table
      insertPrediction.run(
        topic, partition, message.offset, index, block.times[row] as number, block.station(row), valuesOf(block, row),
        block.scores[row] as number, Number.isNaN(severity) ? null : severity, block.isAnomaly[row] as number,
        modelId, storedAt,
      );
    }
  }

  const addShadowScores = database.transaction((scores: ShadowScores): void => {
    const { partition, championModelId, challengerModelId, block, offsets } = scores;
    const storedAt = Date.now();
    let row = 0;
    for (const [message, offset] of offsets.entries()) {
      const rowCount = block.messageRows[message] as number;
      for (let index = 0; index < rowCount; index += 1, row += 1) {
        // biome-ignore format: a row of the table
        insertShadowScore.run(
          topic, partition, offset, index, block.times[row] as number, block.station(row), championModelId,
          challengerModelId, scores.championScores[row] as number, block.scores[row] as number,
          scores.championIsAnomaly[row] as number, block.isAnomaly[row] as number, storedAt,
        );
      }
    }
  });

  const cleanUp = createCleanUp(database, { group, topic });
  let isClosed = false;

  return {
    migrate: () => Promise.resolve(), // Opening the file did it.

    registerModel: ({ sha256, features, offset }, { name, version }) =>
      Promise.try(() => {
        database
          .query(
            `insert into model (sha256, version, name, features, score_offset) values (?, ?, ?, ?, ?)
               on conflict do nothing`,
          )
          .run(sha256, version, name, JSON.stringify(features), offset);
        const { id } = database
          .query('select id from model where sha256 = ? and version = ?')
          .get(sha256, version) as { id: number };
        return id;
      }),

    recordSwap: ({ scorer, modelId, version, sha256, cause, requestedBy, why }) =>
      Promise.try(() => {
        database
          .query(
            `insert into model_swap (scorer, model_id, version, sha256, cause, requested_by, why)
               values (?, ?, ?, ?, ?, ?, ?)`,
          )
          .run(scorer, modelId, version, sha256, cause, requestedBy, why);
      }),

    position: (partition, start) =>
      Promise.try(() => {
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
        return { next: BigInt(next), anomalies: anomalies.map(readAnomaly) };
      }),

    write: (verdicts) => Promise.try(() => writeAll.immediate(verdicts)),

    skipGap(partition, from, to) {
      const skip = database.transaction(() => {
        if (movePosition.run(to, to, 0, group, topic, partition, from).changes !== 1) return false;
        database
          .query(
            'insert into position_gap (consumer, topic, partition, from_offset, to_offset) values (?, ?, ?, ?, ?)',
          )
          .run(group, topic, partition, from, to);
        return true;
      });
      return Promise.try(() => skip.immediate());
    },

    writeShadow: (scores) => Promise.try(() => addShadowScores.immediate(scores)),

    predictions: (query) =>
      Promise.try(() =>
        select<PredictionRow>(database, selectPredictions, query).map(
          (row): PredictionRecord => ({ ...readReading(row), isAnomaly: row.is_anomaly === 1 }),
        ),
      ),

    anomalies: (query) =>
      Promise.try(() => select<AnomalyRow>(database, selectAnomalies, query).map(readAnomaly)),

    async maintain(nowMs) {
      const slices = cleanUp({
        verdictsBeforeMs: nowMs - retentionDays * dayMs,
        readingsBeforeMs: nowMs - logRetentionMs,
      });
      const endMs = performance.now() + cleanUpMsMax;
      for (const _ of slices) {
        await new Promise((resolve) => setImmediate(resolve)); // Blocks and requests go before.
        if (isClosed || performance.now() > endMs) return;
      }
    },

    isReady: () =>
      Promise.try(() => database.query('select 1 from schema_migration').get() !== null).catch(() => false),

    close() {
      isClosed = true;
      database.close();
      return Promise.resolve();
    },
  };
}

/** Readings that the group has stored so far in this file, counting those that were deleted since. */
export function countStoredReadings(
  database: Database,
  { group, topic }: Pick<SqliteStoreOptions, 'group' | 'topic'>,
): number {
  const { count } = database
    .query(
      'select coalesce(sum(reading_count), 0) as count from consumer_offset where consumer = ? and topic = ?',
    )
    .get(group, topic) as { count: number };
  return count;
}

/** A JSON list of the row's values, null where missing. By hand: lists and their elements would be most of a block's garbage. */
function valuesOf({ values, valueStride, featureCount }: Verdicts['block'], row: number): string {
  let text = '';
  for (let at = row * valueStride; at < row * valueStride + featureCount; at += 1) {
    const value = values[at] as number;
    text += `${text === '' ? '' : ','}${Number.isNaN(value) ? 'null' : shortFloat32(value)}`;
  }
  return `[${text}]`;
}

type Deadlines = { readonly verdictsBeforeMs: number; readonly readingsBeforeMs: number };

/**
 * Deletes what is old, slice by slice, and stops between two slices. Only ever looks at the oldest rows of a table, so that
 * a slice costs the same however large the table is.
 */
function createCleanUp(
  database: Database,
  { group, topic }: { readonly group: string; readonly topic: string },
) {
  const deletePredictions = database.query(
    'delete from prediction where rowid in (select rowid from prediction order by rowid limit ?) and stored_at < ?',
  );
  const deleteShadowScores = database.query(
    'delete from shadow_score where rowid in (select rowid from shadow_score order by rowid limit ?) and stored_at < ?',
  );
  // The last block's anomalies stay, however old: they may not be published yet.
  const deleteAnomalies = database.query(
    `delete from anomaly where rowid in (select rowid from anomaly order by rowid limit ?) and stored_at < ?
       and not (topic = ? and "offset" >= ?)`,
  );
  const deleteMessages = database.query(
    `delete from log where topic = ? and "offset" in
       (select "offset" from log where topic = ? and "offset" < ? order by "offset" limit ?) and time_ms < ?`,
  );
  const readTopics = database.query('select topic, next_offset from log_end');
  const readPosition = database.query(
    `select coalesce(max(next_offset), 0) as next, coalesce(max(block_offset), 0) as "from" from consumer_offset
       where consumer = ? and topic = ?`,
  );

  return function* cleanUp({ verdictsBeforeMs, readingsBeforeMs }: Deadlines): Generator<void> {
    const position = readPosition.get(group, topic) as { next: number; from: number };
    const steps = [
      () => deletePredictions.run(cleanUpRowsMax, verdictsBeforeMs),
      () => deleteShadowScores.run(cleanUpRowsMax, verdictsBeforeMs),
      () => deleteAnomalies.run(cleanUpRowsMax, verdictsBeforeMs, topic, position.from),
      ...(readTopics.all() as { topic: string; next_offset: number }[]).map((log) => {
        // Readings are stored apart once they are scored; what was published is only here.
        const isReadings = log.topic === topic;
        const below = isReadings ? position.next : log.next_offset;
        const beforeMs = isReadings ? readingsBeforeMs : verdictsBeforeMs;
        return () => deleteMessages.run(log.topic, log.topic, below, cleanUpRowsMax, beforeMs);
      }),
    ];
    for (const step of steps) {
      while (step().changes > 0) yield;
    }
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
  readonly version: string;
};
type PredictionRow = ReadingRow & { readonly is_anomaly: number };
type AnomalyRow = ReadingRow & { readonly id: string; readonly reasons: string };

// SQLite keeps the order of a cross join: from the rows to their few models, never the other way round.
const selectPredictions = `select topic, partition, "offset", row, time, station, "values", features, score,
  score - score_offset as decision, severity, is_anomaly, sha256, version from prediction cross join model on model.id = model_id`;
const selectAnomalies = `select anomaly.id, topic, partition, "offset", row, time, station, "values", features, score, decision,
  severity, reasons, sha256, version from anomaly cross join model on model.id = model_id`;

function select<Row>(
  database: Database,
  columns: string,
  { station, fromMs, toMs, after, limit }: ReadingQuery,
): Row[] {
  // Always bounded by time: without a condition SQLite sorts the whole table instead of walking the index.
  const conditions: string[] = ['time >= ?'];
  const parameters: (string | number | bigint)[] = [fromMs ?? 0];
  const add = (condition: string, ...values: (string | number | bigint)[]) => {
    conditions.push(condition);
    parameters.push(...values);
  };
  if (station !== undefined) add('station = ?', station);
  if (toMs !== undefined) add('time < ?', toMs);
  if (after !== undefined) {
    const { timeMs, partition, offset, row } = after;
    add('(time, partition, "offset", row) < (?, ?, ?, ?)', timeMs, partition, offset, row);
  }
  const order = 'order by time desc, partition desc, "offset" desc, row desc limit ?';
  return database
    .query(`${columns} where ${conditions.join(' and ')} ${order}`)
    .all(...parameters, limit) as Row[];
}

const readReading = ({ offset, time, values, features, sha256, version, ...row }: ReadingRow) => ({
  topic: row.topic,
  partition: row.partition,
  offset: BigInt(offset),
  row: row.row,
  station: row.station,
  timeMs: time,
  values: JSON.parse(values) as (number | null)[],
  features: JSON.parse(features) as string[],
  score: row.score,
  decision: row.decision,
  severity: row.severity,
  modelSha256: sha256,
  modelVersion: version,
});

const readAnomaly = (row: AnomalyRow): AnomalyRecord => ({
  ...readReading(row),
  id: row.id,
  reasons: JSON.parse(row.reasons) as string[],
});
