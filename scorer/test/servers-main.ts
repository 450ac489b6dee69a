// For tests in other languages: a real PostgreSQL with the scorer's own tables, and with `kafka` a real Kafka, until stdin ends.
import { startKafka, startPostgres } from '@lonetree/devstack';
import { createPostgresStore } from '../src/store-postgres.ts';

const withKafka = process.argv.includes('kafka');
const [postgres, kafka] = await Promise.all([startPostgres(), withKafka ? startKafka() : undefined]);
try {
  const store = createPostgresStore({
    url: postgres.url,
    group: 'scorer',
    topic: 'readings',
    connectionCount: 1,
    queryConnectionCount: 1,
    deadlineMs: 5_000,
    schemaDeadlineMs: 60_000,
    lockTimeoutMs: 2_000,
    connectTimeoutMs: 2_000,
    partitionDaysAhead: 3,
  });
  await store.migrate();
  await store.maintain(Date.now());
  await store.close();
  console.log(JSON.stringify({ databaseUrl: postgres.url, brokers: kafka?.brokers ?? null }));
  await Bun.stdin.text();
} finally {
  await Promise.all([postgres.stop(), kafka?.stop()]);
}
