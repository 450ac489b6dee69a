// What the benchmark sends: readings of the simulator, each request with others than the one before.
import { fromBinary } from '@bufbuild/protobuf';
import { SensorBatchSchema } from '@lonetree/proto';
import { runSimulator, type SimulatedMessage } from '@lonetree/simulator';
import { shortFloat32 } from '../../src/float32.ts';

/** The readings of one request. */
export type RequestReadings = {
  /** A SensorBatch, as the simulator's stations send it. */
  readonly protobuf: Uint8Array;
  readonly readings: readonly {
    readonly station: string;
    readonly time: number;
    readonly values: Readonly<Record<string, number>>;
  }[];
};

/** Not the seed of the training rows: these were never seen. */
const seed = 7;
const startMs = Date.UTC(2026, 10, 23);

export async function simulateRequests(options: {
  readonly requestCount: number;
  readonly rowCount: number;
}): Promise<RequestReadings[]> {
  const { requestCount, rowCount } = options;
  const messages: SimulatedMessage[] = [];
  await runSimulator({
    stationCount: 16,
    // All stations' readings in one stream: every message is full.
    gatewayCount: 1,
    seed,
    mode: 'independent',
    faults: null,
    readingsPerSecond: null,
    startMs,
    batchSize: rowCount,
    readingCountMax: requestCount * rowCount,
    publish(sent) {
      messages.push(...sent);
      return Promise.resolve();
    },
    signal: new AbortController().signal,
  });
  return messages.map(({ value }) => ({ protobuf: value, readings: decode(value) }));
}

function decode(message: Uint8Array): RequestReadings['readings'] {
  const { stations, stationIndices, baseTimeMs, timeDeltasMs, columns } = fromBinary(
    SensorBatchSchema,
    message,
  );
  let time = Number(baseTimeMs);
  return timeDeltasMs.map((delta, row) => {
    time += Number(delta);
    return {
      station: stations[stationIndices[row] ?? 0] as string,
      time,
      values: Object.fromEntries(
        columns.map(({ name, values }) => [name, shortFloat32(values[row] as number)]),
      ),
    };
  });
}

/** The rows of all requests one after the other, features in this order. */
export function toRows(requests: readonly RequestReadings[], features: readonly string[]): Float32Array {
  return Float32Array.from(
    requests.flatMap(({ readings }) =>
      readings.flatMap(({ values }) => features.map((name) => values[name] as number)),
    ),
  );
}
