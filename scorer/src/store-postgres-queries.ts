// Stored verdicts and anomalies out of PostgreSQL, newest first.
import type { PendingQuery, Row, Sql } from 'postgres';
import type { AnomalyRecord, PredictionRecord, ReadingQuery } from './store.ts';

/** Where all times of readings lie: other ones are refused when decoding. */
const [timeMinMs, timeEndMs] = [Date.UTC(2000, 0), Date.UTC(2101, 0)];
const firstSpanMs = 1_000;
const spanGrowth = 4;
const pageSize = 8_192;
/** This much of the end of a day's file is looked at for its newest reading. */
const tailPageCount = 64;

export async function queryAnomalies(db: Sql, query: ReadingQuery): Promise<AnomalyRecord[]> {
  const rows = await db`${selectAnomalies(db)} where ${conditions(db, query)}
    order by time desc, partition desc, "offset" desc, row desc limit ${query.limit}`;
  return rows.map(readAnomaly);
}

/** Anomalies of a block: from one offset to before another, in order. */
export async function blockAnomalies(
  db: Sql,
  block: { topic: string; partition: number; from: string; next: string },
): Promise<AnomalyRecord[]> {
  const rows = await db`${selectAnomalies(db)} where topic = ${block.topic} and partition = ${block.partition}
    and "offset" >= ${block.from} and "offset" < ${block.next} order by "offset", row`;
  return rows.map(readAnomaly);
}

/**
 * An index that keeps this order would halve the speed of writing. The index that is there finds a span of time quickly,
 * so spans that reach back from the newest reading grow until they hold enough.
 */
export async function queryPredictions(db: Sql, query: ReadingQuery): Promise<PredictionRecord[]> {
  const lowMs = Math.max(query.fromMs ?? timeMinMs, timeMinMs);
  let highMs = Math.min(query.toMs ?? timeEndMs, (query.after?.timeMs ?? timeEndMs) + 1, timeEndMs);
  const newestMs = highMs < timeEndMs ? highMs : await findNewest(db);
  const found: PredictionRecord[] = [];
  if (newestMs === null) return found;
  let fromMs = newestMs;
  for (let spanMs = firstSpanMs; highMs > lowMs && found.length < query.limit; spanMs *= spanGrowth) {
    fromMs = Math.max(lowMs, Math.min(fromMs, highMs) - spanMs);
    const rows = await db`
      select topic, partition, "offset", row, (extract(epoch from time) * 1000)::float8 as time_ms, station,
        to_json("values") as "values", to_json(features) as features, score, score - score_offset as decision,
        severity::float8, is_anomaly, sha256, version
      from prediction join model on model.id = model_id
      where ${conditions(db, { ...query, fromMs, toMs: highMs })}
      order by time desc, partition desc, "offset" desc, row desc limit ${query.limit - found.length}`;
    for (const row of rows) found.push({ ...readReading(row), isAnomaly: row.is_anomaly });
    highMs = fromMs;
  }
  return found;
}

/**
 * About when the newest reading was, or null when there is none: readings lie on disk in the order in which they came,
 * so the end of the newest day's file tells. Odd times in the default partition count only when there is nothing else.
 */
async function findNewest(db: Sql): Promise<number | null> {
  const partitions = await db`
    select inhrelid::regclass::text as name, pg_relation_size(inhrelid)::float8 as size
    from pg_inherits join pg_class on pg_class.oid = inhrelid
    where inhparent = 'prediction'::regclass and pg_relation_size(inhrelid) > 0
    order by relname = 'prediction_default', relname desc limit 1`;
  const [newest] = partitions;
  if (newest === undefined) return null;
  const firstPage = Math.max(0, newest.size / pageSize - tailPageCount);
  const [row] = await db`select (extract(epoch from max(time)) * 1000)::float8 as time_ms
    from ${db(newest.name)} where ctid >= ${`(${firstPage},0)`}::tid`;
  return row?.time_ms ?? timeEndMs;
}

const selectAnomalies = (db: Sql): PendingQuery<Row[]> => db`
  select anomaly.id, topic, partition, "offset", row, (extract(epoch from time) * 1000)::float8 as time_ms, station,
    to_json("values") as "values", to_json(features) as features, score, decision, severity,
    to_json(reasons) as reasons, sha256, version
  from anomaly join model on model.id = model_id`;

function conditions(db: Sql, { station, fromMs, toMs, after }: ReadingQuery) {
  const time = (ms: number) => new Date(ms).toISOString();
  return db`true
    ${station === undefined ? db`` : db`and station = ${station}`}
    ${fromMs === undefined ? db`` : db`and time >= ${time(fromMs)}`}
    ${toMs === undefined ? db`` : db`and time < ${time(toMs)}`}
    ${after === undefined ? db`` : db`and (time, partition, "offset", row) < (${time(after.timeMs)}, ${after.partition}, ${String(after.offset)}, ${after.row})`}`;
}

const readReading = (row: Row) => ({
  topic: row.topic as string,
  partition: row.partition as number,
  offset: BigInt(row.offset),
  row: row.row as number,
  station: row.station as string,
  timeMs: row.time_ms as number,
  // PostgreSQL writes the shortest decimal that is the same float32.
  values: (row.values as (number | null)[]).map((value) => (value === null ? null : Math.fround(value))),
  features: row.features as string[],
  score: row.score as number,
  decision: row.decision as number,
  severity: row.severity as number | null,
  modelSha256: row.sha256 as string,
  modelVersion: row.version as string,
});

const readAnomaly = (row: Row): AnomalyRecord => ({ ...readReading(row), id: row.id, reasons: row.reasons });
