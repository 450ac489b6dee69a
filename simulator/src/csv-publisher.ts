// Writes readings as a CSV file: time, station, then one column per feature; a missing value is an empty
// cell.
import { createWriteStream } from 'node:fs';
import { finished } from 'node:stream/promises';
import { fromBinary } from '@bufbuild/protobuf';
import { type SensorBatch, SensorBatchSchema } from '@lonetree/proto';
import { noDelivery, type Publisher } from './publisher.ts';

export function createCsvPublisher(file: string): Publisher {
  const stream = createWriteStream(file);
  const closed = finished(stream);
  // The failure is reported where it is awaited; until then it must not end the process.
  closed.catch(() => {});
  const delivery = noDelivery();
  let hasHeader = false;
  return {
    delivery,
    async publish(messages) {
      let text = '';
      for (const { value } of messages) {
        const batch = fromBinary(SensorBatchSchema, value);
        if (!hasHeader) text += `time,station,${batch.columns.map(({ name }) => quote(name)).join(',')}\n`;
        hasHeader = true;
        text += rowsOf(batch);
      }
      if (!stream.write(text))
        await Promise.race([new Promise((resolve) => stream.once('drain', resolve)), closed]);
      delivery.acknowledgedMessages += messages.length;
    },
    async close() {
      stream.end();
      await closed;
    },
  };
}

function rowsOf(batch: SensorBatch): string {
  let text = '';
  let timeMs = Number(batch.baseTimeMs);
  for (const [row, delta] of batch.timeDeltasMs.entries()) {
    timeMs += Number(delta);
    text += `${new Date(timeMs).toISOString()},${quote(batch.stations[batch.stationIndices[row] ?? 0] ?? '')}`;
    for (const { values } of batch.columns) {
      const value = values[row] as number;
      text += Number.isFinite(value) ? `,${value}` : ',';
    }
    text += '\n';
  }
  return text;
}

function quote(text: string): string {
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}
