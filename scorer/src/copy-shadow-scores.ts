// What champion and challenger say of the same readings, in PostgreSQL's binary COPY format.
import { copyFrameSize, createCopyWriter } from './copy-writer.ts';
import type { ShadowScores } from './store.ts';

/** The columns that `encodeShadowScores` writes, in its order. */
export const shadowColumns = [
  'topic',
  'partition',
  'offset',
  'row',
  'time',
  'station',
  'champion_model_id',
  'challenger_model_id',
  'champion_score',
  'challenger_score',
  'champion_is_anomaly',
  'challenger_is_anomaly',
] as const;

/** Field count, lengths of all fields, and the fields of fixed size. */
const fixedRowSize = 2 + 4 * shadowColumns.length + 4 + 8 + 4 + 8 + 2 * 4 + 2 * 8 + 2;

/** One COPY stream with all rows. */
export function encodeShadowScores(scores: ShadowScores, topic: string): Uint8Array {
  const { partition, championModelId, challengerModelId, block, offsets } = scores;
  const topicBytes = new TextEncoder().encode(topic);
  const { memory, stationStart, stationLength, messageRows, rowCount } = block;
  let sizeMax = copyFrameSize + rowCount * (fixedRowSize + topicBytes.length);
  for (let row = 0; row < rowCount; row += 1) sizeMax += stationLength[row] as number;
  const writer = createCopyWriter(sizeMax);
  let row = 0;
  for (const [message, offset] of offsets.entries()) {
    const rows = messageRows[message] as number;
    for (let index = 0; index < rows; index += 1, row += 1) {
      const start = stationStart[row] as number;
      writer.row(shadowColumns.length);
      writer.utf8(topicBytes);
      writer.int32(partition);
      writer.int64(BigInt(offset));
      writer.int32(index);
      writer.time(block.times[row] as number);
      writer.utf8(memory.subarray(start, start + (stationLength[row] as number)));
      writer.int32(championModelId);
      writer.int32(challengerModelId);
      writer.float64(scores.championScores[row] as number);
      writer.float64(block.scores[row] as number);
      writer.boolean(scores.championIsAnomaly[row] === 1);
      writer.boolean(block.isAnomaly[row] === 1);
    }
  }
  return writer.end();
}
