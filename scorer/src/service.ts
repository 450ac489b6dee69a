// A running scorer: model, store, log, pipeline and HTTP put together, started in an order that shows what it waits for.
import { readFile } from 'node:fs/promises';
import { Engine } from '@lonetree/core-wasm';
import { createApp } from './app.ts';
import type { Broker } from './broker.ts';
import { createSqliteBroker } from './broker-sqlite.ts';
import { bounds, type Config } from './config.ts';
import type { Logger } from './log.ts';
import { createMetrics } from './metrics.ts';
import { createPipeline, type PipelineObserver } from './pipeline.ts';
import { openDatabase } from './sqlite.ts';
import type { Store } from './store.ts';
import type { FaultPoint } from './store-postgres.ts';
import { createSqliteStore } from './store-sqlite.ts';

export type Service = {
  readonly address: string;
  readonly broker: Broker;
  readonly store: Store;
  /** Ends after the blocks under way; resolves when nothing runs any more. */
  stop(): Promise<void>;
};

export type ServiceHooks = {
  /** The service cannot go on: the process has to end. */
  readonly onFatal: (error: Error) => void;
  /** Sees every stored block, beside the metrics. */
  readonly onStored?: PipelineObserver['stored'];
  readonly atFaultPoint?: (place: FaultPoint) => void;
};

/** The service cannot start as it is set up; the message says what to change. */
export class StartError extends Error {}

export async function startService(config: Config, log: Logger, hooks: ServiceHooks): Promise<Service> {
  const engine = await loadEngine(config.modelFile);
  void accelerate(engine, log);
  const { broker, store } = await createAdapters(config, log, hooks);
  const metrics = createMetrics();
  const stopping = new AbortController();
  let active: { engine: Engine; modelId: number; loadedAtMs: number; name: string } | null = null;
  let isConsuming = false;

  const pipeline = createPipeline({
    broker,
    store,
    activeModel() {
      if (active === null) throw new Error('assertion failed: a block came before the model');
      return active;
    },
    topics: config.topics,
    log: { info: log.info.bind(log), warn: log.warn.bind(log), error: log.error.bind(log) },
    observer: {
      ...metrics,
      stored(block) {
        metrics.stored(block);
        hooks.onStored?.(block);
      },
    },
    wait: Bun.sleep,
    retry: { firstMs: bounds.retryFirstMs, maxMs: bounds.retryMaxMs },
  });
  const notReady = async () => [
    ...(active === null ? ['model: not recorded in the store yet'] : []),
    ...((await store.isReady()) ? [] : ['store: it does not answer']),
    ...(isConsuming && broker.isReady() ? [] : ['broker: not connected']),
    ...pipeline.troubles(),
  ];
  const app = createApp({
    store,
    broker,
    activeModel: () => active,
    notReady,
    metrics,
    readingsTopic: config.topics.readings,
    bodySizeMax: bounds.requestBodySizeMax,
    queryRowsMax: bounds.queryRowsMax,
    confirmDeadlineMs: bounds.confirmDeadlineMs,
    onError: (error) => log.error({ err: error }, 'a request failed'),
  });
  const server = listen(config, app.fetch);
  log.info(
    { address: server.url.href, backend: config.backend.kind, model: engine.model.sha256 },
    'listening',
  );

  const begin = async () => {
    const again = <T>(what: string, work: () => Promise<T>) =>
      retry(what, work, { log, signal: stopping.signal });
    await again('preparing the store', () => store.migrate());
    await again('making day partitions', () => store.maintain(Date.now()));
    const modelId = await again('recording the model', () =>
      store.registerModel(engine.model, config.modelName),
    );
    active = { engine, modelId, loadedAtMs: Date.now(), name: config.modelName };
    metrics.modelLoaded({ sha256: engine.model.sha256, name: config.modelName });
    await again('joining the group', () => broker.consume(pipeline.handlers));
    isConsuming = true;
  };
  const begun = begin().catch((error: Error) => {
    if (!stopping.signal.aborted) hooks.onFatal(error);
  });
  const maintenance = setInterval(() => {
    store
      .maintain(Date.now())
      .catch((error) => log.warn({ err: error }, 'maintenance failed and is tried again'));
  }, bounds.maintainIntervalMs);

  return {
    address: server.url.href,
    broker,
    store,
    async stop() {
      stopping.abort();
      clearInterval(maintenance);
      // Requests under way get their answers; a client that stalls does not hold up the rest.
      await Promise.race([server.stop(), Bun.sleep(bounds.requestDrainMs)]);
      if (!isConsuming) await store.close(); // The start may be waiting for it.
      await Promise.all([server.stop(true), begun]);
      await broker.close();
      await store.close();
    },
  };
}

async function loadEngine(file: string): Promise<Engine> {
  const bytes = await readFile(file).catch((error: Error) => {
    throw new StartError(
      `The model ${file} cannot be read (${error.message}): set MODEL_FILE to a .forest file.`,
      { cause: error },
    );
  });
  return await Engine.load(bytes).catch((error: Error) => {
    throw new StartError(`${file}: ${error.message}`, { cause: error });
  });
}

/** Scoring has begun before this, and goes on as it is if this fails. */
async function accelerate(engine: Engine, log: Logger): Promise<void> {
  try {
    await engine.accelerate();
    log.info({ engine: engine.scoring }, 'scoring engine chosen');
  } catch (error) {
    log.warn({ err: error }, 'the faster scoring engine could not be made ready: trees are walked');
  }
}

async function createAdapters(
  { backend, group, topics, kafkaSecurity }: Config,
  log: Logger,
  hooks: ServiceHooks,
): Promise<{ broker: Broker; store: Store }> {
  const topic = topics.readings;
  if (backend.kind === 'embedded') {
    const database = openDatabase(backend.dataFolder);
    return {
      broker: createSqliteBroker({
        database,
        topic,
        blockMessagesMax: bounds.embeddedBlockMessagesMax,
        blockSizeMax: bounds.embeddedBlockSizeMax,
        now: Date.now,
      }),
      store: createSqliteStore({ database, group, topic, retentionDays: backend.retentionDays }),
    };
  }
  // Only here: the embedded mode starts faster and smaller without these clients.
  const { createKafkaBroker } = await import('./broker-kafka.ts');
  const { createPostgresStore } = await import('./store-postgres.ts');
  return {
    broker: createKafkaBroker({
      brokers: backend.brokers,
      security: kafkaSecurity,
      ...(kafkaSecurity.caFile === undefined
        ? {}
        : { certificateAuthority: await readAuthority(kafkaSecurity.caFile) }),
      group,
      topic,
      log,
      bounds,
      onFatal: hooks.onFatal,
    }),
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

function listen({ host, port }: Config, fetch: (request: Request) => Response | Promise<Response>) {
  try {
    return Bun.serve({
      hostname: host,
      port,
      fetch,
      maxRequestBodySize: 4 * bounds.requestBodySizeMax,
      idleTimeout: 30,
    });
  } catch (error) {
    const { code, message } = error as { code?: string; message: string };
    const hint = code === 'EADDRINUSE' ? 'another program listens there; set PORT to a free one' : message;
    throw new StartError(`HTTP cannot listen on ${host}:${port}: ${hint}.`, { cause: error });
  }
}

/** Tries until it works or the service stops. Waits grow to a bound; a failure is logged when it is a new one. */
async function retry<T>(
  what: string,
  work: () => Promise<T>,
  { log, signal }: { log: Logger; signal: AbortSignal },
): Promise<T> {
  let lastMessage = '';
  for (let waitMs: number = bounds.retryFirstMs; ; waitMs = Math.min(waitMs * 2, bounds.retryMaxMs)) {
    try {
      return await work();
    } catch (error) {
      signal.throwIfAborted();
      const { message } = error as Error;
      if (message !== lastMessage) log.warn({ err: error }, `${what} failed and is tried again`);
      lastMessage = message;
      await Bun.sleep(waitMs);
      signal.throwIfAborted();
    }
  }
}
