// `bun run devstack`: real servers for hand use, until Ctrl-C.
import { describeMemory, startFullStack } from './full.ts';
import { startKafka } from './kafka.ts';
import { startPostgres } from './postgres.ts';
import { createTopics, projectTopics } from './topics.ts';

const usage = `Usage: bun run devstack [full]

Starts Apache Kafka and PostgreSQL on free ports of this machine, makes Lonetree's topics, and prints the
environment variables that the scorer and the simulator need. Ctrl-C ends both and removes their data.

  full   the whole system: Kafka, PostgreSQL, MLflow, Airflow, two scorers, the simulator, Prometheus, Alertmanager with an
         example of who hears of alerts, and exporters; prints their addresses, and after a minute the memory of each
`;

const settleMs = 60_000;

function untilAsked(): Promise<'asked'> {
  return new Promise((resolve) => {
    for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, () => resolve('asked'));
  });
}

/** Kafka and PostgreSQL. */
async function runServers(): Promise<number> {
  const [kafka, postgres] = await Promise.all([startKafka(), startPostgres()]);
  const asked = untilAsked();
  await createTopics(kafka, projectTopics);
  console.log(`export KAFKA_BROKERS=${kafka.brokers}`);
  console.log(`export DATABASE_URL=${postgres.url}`);
  console.error(
    'Both run. Paste the lines above into another shell; Ctrl-C here ends both and removes their data.',
  );
  const stayAwake = setInterval(() => {}, 3_600_000);
  await asked;
  clearInterval(stayAwake);
  await Promise.all([kafka.stop(), postgres.stop()]);
  return 0;
}

/** Whoever asks for the end while it still starts gets it at once: every server ends with us. */
async function runAll(): Promise<number> {
  const isStarted = Promise.withResolvers<void>();
  const asked = untilAsked();
  void Promise.race([asked, isStarted.promise.then(() => 'started')]).then((first) => {
    if (first === 'asked') process.exit(1);
  });
  const stack = await startFullStack();
  isStarted.resolve();
  for (const { name, address } of stack.parts)
    if (address !== '') console.log(`${name.padEnd(20)} ${address}`);
  for (const [name, value] of Object.entries(stack.environment)) console.log(`export ${name}=${value}`);
  console.error('All of it runs. Ctrl-C ends it and removes its data.');
  const memory = setTimeout(
    () => console.error(`Memory after a minute:\n${describeMemory(stack)}`),
    settleMs,
  );
  try {
    await Promise.race([asked, stack.broken]);
    return 0;
  } catch (error) {
    console.error((error as Error).message);
    return 1;
  } finally {
    clearTimeout(memory);
    await stack.stop();
  }
}

const [which, ...rest] = process.argv.slice(2);
if (rest.length > 0 || (which !== undefined && which !== 'full')) {
  const isHelp = which === '--help' || which === '-h';
  (isHelp ? process.stdout : process.stderr).write(usage);
  process.exit(isHelp ? 0 : 2);
}
process.exit(await (which === 'full' ? runAll() : runServers()));
