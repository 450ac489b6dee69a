// Anomalies for PostgreSQL: few as JSON, many in its binary COPY format: when every reading is abnormal they are as many as
// verdicts.
import { copyFrameSize, createCopyWriter } from './copy-writer.ts';
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

const float4Oid = 700;
const textOid = 25;
/** Field count, lengths of all fields, fields of fixed size, and the heads of both arrays. */
const fixedRowSize = 2 + 4 * anomalyColumns.length + 4 + 8 + 4 + 8 + 3 * 8 + 4 + 2 * 20;
/** A character takes at most this many bytes in UTF-8 for each unit of a JavaScript string. */
const utf8SizeMax = 3;

/** One COPY stream with all anomalies. Missing values and severities are NULL. */
export function encodeAnomalies(anomalies: readonly AnomalyRecord[], modelId: number): Uint8Array {
  let sizeMax = copyFrameSize;
  for (const anomaly of anomalies) sizeMax += rowSizeMax(anomaly);
  const writer = createCopyWriter(sizeMax);
  for (const anomaly of anomalies) {
    writer.row(anomalyColumns.length);
    writer.text(anomaly.id);
    writer.text(anomaly.topic);
    writer.int32(anomaly.partition);
    writer.int64(anomaly.offset);
    writer.int32(anomaly.row);
    writer.time(anomaly.timeMs);
    writer.text(anomaly.station);
    writer.array(float4Oid, anomaly.values, writer.float32);
    writer.float64(anomaly.score);
    writer.float64(anomaly.decision);
    writer.float64(anomaly.severity);
    writer.array(textOid, anomaly.reasons, writer.text);
    writer.int32(modelId);
  }
  return writer.end();
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
