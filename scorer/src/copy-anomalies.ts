// Anomalies for PostgreSQL: few as JSON, many in its binary COPY format: when every reading is abnormal they are as many as
// verdicts.
import type { AnomalyRecord } from './store.ts';

/** The columns that `encodeAnomalies` writes, in its order. */
export const anomalyColumns = [
  'id',
  'topic',
  'partition',
  'offset',
  'row',
  'time',
  'station',
  'values',
  'score',
  'decision',
  'severity',
  'reasons',
  'model_id',
] as const;

const signature = Uint8Array.of(...'PGCOPY\n\xff\r\n\0'.split('').map((char) => char.charCodeAt(0)));
/** Signature, flags, length of the header's extension. */
const headerSize = signature.length + 8;
const trailerSize = 2;
/** PostgreSQL counts microseconds from 2000-01-01. */
const epochMs = 946_684_800_000;
const float4Oid = 700;
const textOid = 25;
const nullLength = -1;
/** Field count, lengths of all fields, fields of fixed size, and the heads of both arrays. */
const fixedRowSize = 2 + 4 * anomalyColumns.length + 4 + 8 + 4 + 8 + 3 * 8 + 4 + 2 * 20;
/** A character takes at most this many bytes in UTF-8 for each unit of a JavaScript string. */
const utf8SizeMax = 3;

/** One COPY stream with all anomalies. Missing values and severities are NULL. */
export function encodeAnomalies(anomalies: readonly AnomalyRecord[], modelId: number): Uint8Array {
  let sizeMax = headerSize + trailerSize;
  for (const anomaly of anomalies) sizeMax += rowSizeMax(anomaly);
  const bytes = new Uint8Array(sizeMax);
  const view = new DataView(bytes.buffer);
  const encoder = new TextEncoder();
  bytes.set(signature);
  let at = headerSize;

  const text = (value: string) => {
    const { written } = encoder.encodeInto(value, bytes.subarray(at + 4));
    view.setInt32(at, written);
    at += 4 + written;
  };
  const int32 = (value: number) => {
    view.setInt32(at, 4);
    view.setInt32(at + 4, value);
    at += 8;
  };
  const int64 = (value: bigint) => {
    view.setInt32(at, 8);
    view.setBigInt64(at + 4, value);
    at += 12;
  };
  const float64 = (value: number | null) => {
    view.setInt32(at, value === null ? nullLength : 8);
    if (value !== null) view.setFloat64(at + 4, value);
    at += value === null ? 4 : 12;
  };
  const float32 = (value: number | null) => {
    view.setInt32(at, value === null ? nullLength : 4);
    if (value !== null) view.setFloat32(at + 4, value);
    at += value === null ? 4 : 8;
  };
  const array = <T>(oid: number, items: readonly T[], write: (item: T) => void) => {
    const start = at;
    view.setInt32(at + 4, items.length === 0 ? 0 : 1); // dimensions
    view.setInt32(at + 8, items.includes(null as T) ? 1 : 0);
    view.setInt32(at + 12, oid);
    at += 16;
    if (items.length > 0) {
      view.setInt32(at, items.length);
      view.setInt32(at + 4, 1); // index of the first element
      at += 8;
    }
    for (const item of items) write(item);
    view.setInt32(start, at - start - 4);
  };

  for (const anomaly of anomalies) {
    view.setInt16(at, anomalyColumns.length);
    at += 2;
    text(anomaly.id);
    text(anomaly.topic);
    int32(anomaly.partition);
    int64(anomaly.offset);
    int32(anomaly.row);
    int64(BigInt(anomaly.timeMs - epochMs) * 1_000n);
    text(anomaly.station);
    array(float4Oid, anomaly.values, float32);
    float64(anomaly.score);
    float64(anomaly.decision);
    float64(anomaly.severity);
    array(textOid, anomaly.reasons, text);
    int32(modelId);
  }
  view.setInt16(at, -1);
  return bytes.subarray(0, at + trailerSize);
}

function rowSizeMax({ id, topic, station, values, reasons }: AnomalyRecord): number {
  let characters = id.length + topic.length + station.length;
  for (const reason of reasons) characters += reason.length;
  return fixedRowSize + utf8SizeMax * characters + 8 * values.length + 4 * reasons.length;
}

/** Anomalies as a JSON array of records of the table: what `json_populate_recordset` reads. */
export function describeAnomalies(anomalies: readonly AnomalyRecord[], modelId: number): string {
  return JSON.stringify(
    anomalies.map(({ offset, timeMs, values, features: _, modelSha256: __, modelVersion: ___, ...rest }) => ({
      ...rest,
      offset: String(offset),
      time: new Date(timeMs).toISOString(),
      values: `{${values.map(numberText).join(',')}}`,
      model_id: modelId,
    })),
  );
}

/** JSON would make 0 of −0. */
function numberText(value: number | null): string {
  if (value === null) return 'NULL';
  return Object.is(value, -0) ? '-0' : String(value);
}
