// A scorer that counts nothing, to measure what counting costs.
import { Registry } from 'prom-client';
import { readConfig } from '../../src/config.ts';
import { keepRunning } from '../../src/lifecycle.ts';
import { createLog } from '../../src/log.ts';
import type { Metrics } from '../../src/metrics.ts';
import { startService } from '../../src/service.ts';

const uncounted: Metrics = {
  registry: new Registry(),
  spent() {},
  scored: () => () => {},
  stored() {},
  dropped() {},
  gapSkipped() {},
  modelUsed() {},
  modelFailed() {},
  shadowStored() {},
  shadowDropped() {},
  challengerFailed() {},
};

const config = readConfig(process.env);
const log = createLog(config.logLevel);
await keepRunning(
  () => log,
  async (onFatal) => ({
    service: await startService(config, log, { onFatal, createMetrics: () => uncounted }),
  }),
);
