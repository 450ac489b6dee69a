// `bun run start`: a scorer on one SQLite file with a simulated fleet, shown on the terminal. No configuration.
import { defaultDemo, runSimulator } from '@lonetree/simulator';
import { type Config, readConfig } from './config.ts';
import { keepRunning } from './lifecycle.ts';
import { createLog } from './log.ts';
import { secretsOf } from './secrets.ts';
import { startService } from './service.ts';
import { openDatabase } from './sqlite.ts';
import { StartError } from './start-error.ts';
import { countStoredReadings } from './store-sqlite.ts';
import { createTerminal } from './terminal.ts';

const usage = `bun run start

Starts the scorer with a simulated fleet, shows what is abnormal, and keeps everything in one SQLite file.
Started again it goes on where it was. Ctrl-C ends it.

  PORT       where it listens (8080)
  DATA_DIR   folder of the file (.data)
  NO_COLOR   any value: no colours
`;
if (process.argv.slice(2).length > 0) {
  const isAskedFor = process.argv.includes('--help');
  (isAskedFor ? process.stdout : process.stderr).write(usage);
  process.exit(isAskedFor ? 0 : 2);
}

let log = createLog('warn');
const seedMax = 2 ** 31;

await keepRunning(
  () => log,
  async (onFatal) => {
    const config = readConfig({ LOG_LEVEL: 'warn', ...process.env });
    log = createLog(config.logLevel, secretsOf(config));
    if (config.backend.kind === 'full') {
      throw new StartError(
        'KAFKA_BROKERS and DATABASE_URL are set: `bun run scorer` runs with them, `bun run start` needs neither.',
      );
    }
    const earlierCount = countEarlier(config, config.dataFolder);
    const { isTTY } = process.stdout;
    const terminal = createTerminal({
      write: (text) => process.stdout.write(text),
      isInteractive: isTTY,
      useColour: isTTY && !process.env.NO_COLOR,
      now: Date.now,
    });
    const service = await startService(config, log, {
      onFatal,
      onStored({ readingCount, anomalies }) {
        terminal.readings(readingCount);
        terminal.anomalies(anomalies);
      },
    });
    terminal.line(`Lonetree listens on ${service.address}`);
    if (earlierCount > 0)
      terminal.line(
        `${earlierCount.toLocaleString('en')} readings are stored from before: it goes on from there.`,
      );
    terminal.line(
      `${defaultDemo.stationCount} simulated stations; every few seconds one of their sensors fails. Ctrl-C ends it.`,
    );
    const stopping = new AbortController();
    const simulation = runSimulator({
      ...defaultDemo,
      // Another run, other readings: the ones before are kept.
      seed: Date.now() % seedMax,
      signal: stopping.signal,
      publish: (messages) => service.broker.publish(config.topics.readings, messages),
    });
    simulation.catch(onFatal);
    return {
      service,
      async beforeStop() {
        stopping.abort();
        await simulation.catch(() => {}); // It was told to onFatal.
      },
      afterStop: terminal.stop,
    };
  },
);

/** Looks into the file before the service takes it for itself. */
function countEarlier({ group, topics }: Config, dataFolder: string): number {
  const database = openDatabase(dataFolder);
  try {
    return countStoredReadings(database, { group, topic: topics.readings });
  } finally {
    database.close();
  }
}
