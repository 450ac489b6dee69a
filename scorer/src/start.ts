// `bun run start`: a scorer on one SQLite file with a simulated fleet, shown on the terminal. No configuration.
import { defaultDemo, runSimulator } from '@lonetree/simulator';
import { readConfig } from './config.ts';
import { keepRunning } from './lifecycle.ts';
import { createLog } from './log.ts';
import { StartError, startService } from './service.ts';
import { createTerminal } from './terminal.ts';

if (process.argv.slice(2).length > 0) {
  console.log(
    'bun run start\n\nStarts the scorer with a simulated fleet, and keeps everything in one SQLite file.\nPORT changes where it listens (8080), DATA_DIR where the file is (.data).',
  );
  process.exit(process.argv.includes('--help') ? 0 : 2);
}

let log = createLog('warn');
const seedMax = 2 ** 31;

await keepRunning(
  () => log,
  async (onFatal) => {
    const config = readConfig({ LOG_LEVEL: 'warn', ...process.env });
    log = createLog(config.logLevel);
    if (config.backend.kind === 'full') {
      throw new StartError(
        'KAFKA_BROKERS and DATABASE_URL are set: `bun run scorer` runs with them, `bun run start` needs neither.',
      );
    }
    const { isTTY } = process.stdout;
    const terminal = createTerminal({
      write: (text) => process.stdout.write(text),
      isInteractive: isTTY,
      useColour: isTTY && process.env.NO_COLOR === undefined,
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
