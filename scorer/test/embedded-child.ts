// The embedded scorer with a fast fleet inside, for being killed: what `bun run start` runs, without its terminal.
import { runSimulator } from '@lonetree/simulator';
import { readConfig } from '../src/config.ts';
import { keepRunning } from '../src/lifecycle.ts';
import { createLog } from '../src/log.ts';
import { startService } from '../src/service.ts';

const config = readConfig(process.env);
const log = createLog(config.logLevel);
await keepRunning(
  () => log,
  async (onFatal) => {
    const service = await startService(config, log, { onFatal });
    const stopping = new AbortController();
    const simulation = runSimulator({
      stationCount: 5,
      seed: Date.now() % 2 ** 31,
      mode: 'independent',
      faults: { everyMs: 50 },
      readingsPerSecond: 4_000,
      batchSize: 7,
      signal: stopping.signal,
      publish: (messages) => service.broker.publish(config.topics.readings, messages),
    });
    simulation.catch(onFatal);
    console.log('running');
    return {
      service,
      async beforeStop() {
        stopping.abort();
        await simulation;
      },
    };
  },
);
