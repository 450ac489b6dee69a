// An embedded scorer that is to be killed: it says what the log has confirmed. FLEET: seed of readings to publish, or empty.
// KILL_AT: it kills itself when it has stored that many blocks with anomalies, before the last ones are published.
import { writeSync } from 'node:fs';
import { runSimulator } from '@lonetree/simulator';
import { readConfig } from '../../src/config.ts';
import { keepRunning } from '../../src/lifecycle.ts';
import { createLog } from '../../src/log.ts';
import { startService } from '../../src/service.ts';

const { FLEET: seed = '', KILL_AT: killAt } = process.env;
let abnormalBlockCount = 0;
const log = createLog('warn');
await keepRunning(
  () => log,
  async (onFatal) => {
    const config = readConfig(process.env);
    const service = await startService(config, log, {
      onFatal,
      onStored({ anomalies }) {
        if (anomalies.length === 0) return;
        abnormalBlockCount += 1;
        if (abnormalBlockCount === Number(killAt)) process.kill(process.pid, 'SIGKILL');
      },
    });
    const stopping = new AbortController();
    let confirmed = 0;
    if (seed !== '') {
      runSimulator({
        stationCount: 50,
        seed: Number(seed),
        mode: 'independent',
        faults: { everyMs: 200 },
        readingsPerSecond: 10_000,
        batchSize: 10,
        signal: stopping.signal,
        async publish(messages) {
          await service.broker.publish(config.topics.readings, messages);
          confirmed += messages.length;
          // At once and not by a stream: nothing that was said may be lost with the process.
          writeSync(1, `${confirmed}\n`);
        },
      }).catch(onFatal);
    }
    return { service, beforeStop: () => Promise.resolve(stopping.abort()) };
  },
);
