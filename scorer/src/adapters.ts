// The adapters of a run: log and store on one SQLite file, or on Kafka and PostgreSQL.
import { readFile } from 'node:fs/promises';
import { bounds } from './bounds.ts';
import type { Broker } from './broker.ts';
import { createSqliteBroker } from './broker-sqlite.ts';
import type { Config } from './config.ts';
import type { Logger } from './log.ts';
import type { ModelUpdates } from './model-update.ts';
import { openDatabase } from './sqlite.ts';
import { StartError } from './start-error.ts';
import type { Store } from './store.ts';
import type { FaultPoint } from './store-postgres.ts';
import { createSqliteStore } from './store-sqlite.ts';
import type { IsNews } from './troubles.ts';

export type AdapterHooks = {
  /** The service cannot go on: the process has to end. */
  readonly onFatal: (error: Error) => void;
  readonly atFaultPoint?: (place: FaultPoint) => void;
};

export type Adapters = {
  readonly broker: Broker;
  readonly store: Store;
  /** Null where nothing is announced. */
  readonly updates: ModelUpdates | null;
};

export async function createAdapters(
  { backend, group, topics, kafkaSecurity, dataFolder, scorer, model }: Config,
  { log, isNews }: { readonly log: Logger; readonly isNews: IsNews },
  hooks: AdapterHooks,
): Promise<Adapters> {
  const topic = topics.readings;
  if (backend.kind === 'embedded') {
    const database = openDatabase(dataFolder);
    return {
      broker: createSqliteBroker({
        database,
        topic,
        blockMessagesMax: bounds.embeddedBlockMessagesMax,
        blockSizeMax: bounds.embeddedBlockSizeMax,
        now: Date.now,
      }),
      store: createSqliteStore({ database, group, topic, retentionDays: backend.retentionDays }),
      updates: null,
    };
  }
  // Only here: the embedded mode starts faster and smaller without these clients.
  const { createKafkaBroker } = await import('./broker-kafka.ts');
  const { createKafkaUpdates } = await import('./broker-kafka-updates.ts');
  const { createPostgresStore } = await import('./store-postgres.ts');
  const client = {
    brokers: backend.brokers,
    security: kafkaSecurity,
    ...(kafkaSecurity.caFile === undefined
      ? {}
      : { certificateAuthority: await readAuthority(kafkaSecurity.caFile) }),
    clientId: scorer,
    log,
    isNews,
  };
  return {
    broker: createKafkaBroker({ ...client, group, topic, bounds, onFatal: hooks.onFatal }),
    updates:
      model.registryUri === undefined
        ? null // Announcements are of the registry's models.
        : createKafkaUpdates({ ...client, topic: topics.modelUpdates, bounds }),
    store: createPostgresStore({
      url: backend.databaseUrl,
      group,
      topic,
      connectionCount: bounds.partitionsConcurrentMax + 1,
      queryConnectionCount: bounds.queryConnectionsMax,
      deadlineMs: bounds.databaseDeadlineMs,
      schemaDeadlineMs: bounds.schemaDeadlineMs,
      lockTimeoutMs: bounds.lockTimeoutMs,
      connectTimeoutMs: bounds.databaseConnectTimeoutMs,
      partitionDaysAhead: bounds.partitionDaysAhead,
      ...(hooks.atFaultPoint === undefined ? {} : { atFaultPoint: hooks.atFaultPoint }),
    }),
  };
}

async function readAuthority(file: string): Promise<string> {
  return await readFile(file, 'utf8').catch((error: Error) => {
    throw new StartError(
      `The certificate authority ${file} cannot be read (${error.message}): set KAFKA_SSL_CA_FILE to a PEM file.`,
      { cause: error },
    );
  });
}
