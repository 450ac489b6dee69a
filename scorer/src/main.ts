// `bun run scorer`: scores what the log brings until it is told to stop.
import { describeSettings, readConfig } from './config.ts';
import { keepRunning } from './lifecycle.ts';
import { createLog } from './log.ts';
import { secretsOf } from './secrets.ts';
import { startService } from './service.ts';

if (process.argv.slice(2).length > 0) {
  const settings = describeSettings().map(
    ({ name, meaning, fallback }) =>
      `  ${name.padEnd(24)} ${meaning}${fallback === undefined ? '' : ` (${fallback})`}`,
  );
  console.log(
    `bun run scorer\n\nScores readings from Kafka into PostgreSQL, or from one SQLite file. Set by the environment:\n\n${settings.join('\n')}`,
  );
  process.exit(process.argv.includes('--help') ? 0 : 2);
}

let log = createLog('info');
await keepRunning(
  () => log,
  async (onFatal) => {
    const config = readConfig(process.env);
    log = createLog(config.logLevel, secretsOf(config));
    return { service: await startService(config, log, { onFatal }) };
  },
);
