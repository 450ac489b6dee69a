// `bun run devstack`: a real Kafka and a real PostgreSQL for hand use, until Ctrl-C.
import { startKafka } from './kafka.ts';
import { startPostgres } from './postgres.ts';
import { createTopics } from './topics.ts';

const usage = `Usage: bun run devstack

Starts Apache Kafka and PostgreSQL on free ports of this machine, makes Lonetree's topics, and prints the
environment variables that the scorer and the simulator need. Ctrl-C ends both and removes their data.
`;

const topics = [
  { name: 'readings', partitions: 6 },
  { name: 'anomalies', partitions: 6 },
  { name: 'readings.dead-letter', partitions: 1 },
  { name: 'model-updates', partitions: 1 },
];

async function main(): Promise<void> {
  const [kafka, postgres] = await Promise.all([startKafka(), startPostgres()]);
  const isEnding = new Promise<void>((resolve) => {
    for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => resolve());
  });
  await createTopics(kafka, topics);
  console.log(`export KAFKA_BROKERS=${kafka.brokers}`);
  console.log(`export DATABASE_URL=${postgres.url}`);
  console.error(
    'Both run. Paste the lines above into another shell; Ctrl-C here ends both and removes their data.',
  );
  const stayAwake = setInterval(() => {}, 3_600_000);
  await isEnding;
  clearInterval(stayAwake);
  await Promise.all([kafka.stop(), postgres.stop()]);
}

const args = process.argv.slice(2);
if (args.length > 0) {
  const isHelp = args[0] === '--help' || args[0] === '-h';
  (isHelp ? process.stdout : process.stderr).write(usage);
  process.exit(isHelp ? 0 : 2);
}
await main();
