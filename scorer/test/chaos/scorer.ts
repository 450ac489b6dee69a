// A scorer like the real one that kills or freezes itself: FAULT=<place>:<signal>:<n> acts at the n-th passing of the place.
import { readConfig } from '../../src/config.ts';
import { keepRunning } from '../../src/lifecycle.ts';
import { createLog } from '../../src/log.ts';
import { secretsOf } from '../../src/secrets.ts';
import { startService } from '../../src/service.ts';

const [faultPlace, signal, passing] = (process.env.FAULT ?? '').split(':');
let passings = 0;
const config = readConfig(process.env);
const log = createLog(config.logLevel, secretsOf(config));
await keepRunning(
  () => log,
  async (onFatal) => ({
    service: await startService(config, log, {
      onFatal,
      atFaultPoint(place) {
        if (place === 'fenced') log.info('fenced');
        if (place !== faultPlace) return;
        passings += 1;
        if (passings === Number(passing)) process.kill(process.pid, signal);
      },
    }),
  }),
);
