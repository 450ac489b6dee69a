// The usual design beside ours, in the same run on the same servers: readings as JSON, one consumer in Python.
import { join } from 'node:path';
import { createTopics, installLocked, toolsFolder } from '@lonetree/devstack';
import { FEATURES } from '../src/distribution.ts';
import { createFleet } from '../src/fleet.ts';
import { createRecordProducer, type ReadyRecord } from './producer.ts';
import type { Progress } from './progress.ts';
import type { Baseline } from './results.ts';
import type { Bench } from './send.ts';

const TOPIC = 'usual-readings';
const STATION_COUNT = 100;
/** More than one such consumer takes: it must never wait for messages. */
const MESSAGES_PER_SECOND_MAX = 2_000;
const WARM_UP_SECONDS = 5;
const REQUEST_MESSAGES = 1_000;

/** How many rows a second it stores when there is always a message waiting. */
export async function measureBaseline(
  { stack, seed }: Bench,
  seconds: number,
  progress: Progress,
): Promise<Omit<Baseline, 'ratio'>> {
  progress.begin('the usual design, one reading a message');
  const folder = join(toolsFolder, 'load-test');
  const here = join(import.meta.dir, 'baseline');
  await installLocked({ what: 'the usual design', lock: join(here, 'requirements.lock'), folder });
  const brokers = stack.brokers.join(',');
  await createTopics({ brokers }, [{ name: TOPIC, partitions: 1 }]);
  await fillTopic(stack.brokers, seed, MESSAGES_PER_SECOND_MAX * (seconds + WARM_UP_SECONDS));
  progress.update('measuring');
  const child = Bun.spawn(
    [
      'python3',
      join(here, 'usual_consumer.py'),
      ...['--brokers', brokers, '--database', stack.databaseUrl],
      ...['--topic', TOPIC, '--seconds', String(seconds)],
    ],
    { env: { ...process.env, PYTHONPATH: folder }, stdin: 'ignore', stdout: 'pipe', stderr: 'inherit' },
  );
  const end = () => child.kill(); // It must not outlive a load test that is interrupted.
  process.once('exit', end);
  const line = await child.stdout.text();
  process.off('exit', end);
  if ((await child.exited) !== 0)
    throw new Error(`usual_consumer.py ended with ${child.exitCode}; its reason is above.`);
  const measured = JSON.parse(line) as Omit<Baseline, 'ratio'>;
  progress.end(`${measured.rowsPerSecond.toFixed(1)} rows/s`);
  return measured;
}

async function fillTopic(brokers: readonly string[], seed: number, messageCount: number): Promise<void> {
  const fleet = createFleet({
    stationCount: STATION_COUNT,
    seed,
    mode: 'independent',
    intervalMs: 1_000,
    startMs: Date.now(),
    faults: null,
  });
  const producer = createRecordProducer(brokers);
  try {
    for (let sent = 0; sent < messageCount; sent += REQUEST_MESSAGES) {
      const count = Math.min(REQUEST_MESSAGES, messageCount - sent);
      await producer.send(
        Array.from({ length: count }, (): ReadyRecord => {
          const { stationIndex, timeMs, values } = fleet.next();
          const station = fleet.stations[stationIndex] as string;
          const named = Object.fromEntries(FEATURES.map(({ name }, index) => [name, values[index]]));
          const json = JSON.stringify({ station, timeMs, values: named });
          return { topic: TOPIC, partition: 0, key: Buffer.from(station), value: Buffer.from(json) };
        }),
      );
    }
  } finally {
    await producer.close();
  }
}
