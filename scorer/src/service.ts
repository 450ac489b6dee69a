// A running scorer: model, store, log, pipeline and HTTP put together, started in an order that shows what it waits for.
import { join } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import { forestSizeMax } from '@lonetree/core-wasm';
import { type AdapterHooks, createAdapters } from './adapters.ts';
import { createApp } from './app.ts';
import { bounds } from './bounds.ts';
import type { Broker } from './broker.ts';
import { createChallengerKeeper } from './challenger-keeper.ts';
import type { Config } from './config.ts';
import { createDeadLetterLog } from './dead-letter-log.ts';
import type { Logger } from './log.ts';
import { createMetrics, type Metrics } from './metrics.ts';
import { createModelCache } from './model-cache.ts';
import { ModelFailure } from './model-failure.ts';
import { createModelKeeper, type ModelKeeper } from './model-keeper.ts';
import { createFileSource, createRegistrySource } from './model-source.ts';
import { startTriggers } from './model-triggers.ts';
import { createPipeline, type PipelineObserver } from './pipeline.ts';
import { createRegistry, type Registry } from './registry.ts';
import { createFailureLog } from './request-log.ts';
import { createShadow } from './shadow.ts';
import { StartError } from './start-error.ts';
import type { Store } from './store.ts';
import { createTroubles } from './troubles.ts';
import { startWatch } from './watch.ts';

export type Service = {
  readonly address: string;
  readonly broker: Broker;
  readonly store: Store;
  /** Ends after the blocks under way; resolves when nothing runs any more. */
  stop(): Promise<void>;
};

export type ServiceHooks = AdapterHooks & {
  /** Sees every stored block, beside the metrics. */
  readonly onStored?: PipelineObserver['stored'];
  /** Instead of the usual metrics: what they cost is measured without. */
  readonly createMetrics?: typeof createMetrics;
};

export async function startService(config: Config, log: Logger, hooks: ServiceHooks): Promise<Service> {
  const isNews = createTroubles({
    quietMs: bounds.troubleQuietMs,
    countMax: bounds.troublesMax,
    now: () => performance.now(),
  });
  const { broker, store, updates } = await createAdapters(config, { log, isNews }, hooks);
  const metrics = (hooks.createMetrics ?? createMetrics)(() => ({
    partitions: pipeline.partitions(),
    blocksUnderWay: pipeline.blocksUnderWay(),
    seen: watch.seen(),
    challenger: comparison?.challenger.state().challenger ?? null,
  }));
  const registry = connectRegistry(config);
  const keeper = createKeeper(config, registry, { store, metrics, log });
  await keeper.load().catch(explainStart(config.model.file));
  const stopping = new AbortController();
  let isConsuming = false;
  const comparison = createComparison(config, registry, { keeper, store, metrics, log });

  const readingsLog = log.child({ topic: config.topics.readings });
  const noteDeadLetters = createDeadLetterLog(readingsLog, isNews);
  const pipeline = createPipeline({
    broker,
    store,
    activeModel() {
      const { active } = keeper.state();
      if (active === null) throw new Error('assertion failed: a block came before the model');
      return active;
    },
    shadow: comparison?.shadow ?? null,
    topics: config.topics,
    log: readingsLog,
    observer: {
      ...metrics,
      stored(block) {
        metrics.stored(block);
        noteDeadLetters(block);
        hooks.onStored?.(block);
      },
    },
    wait: Bun.sleep,
    retry: { firstMs: bounds.retryFirstMs, maxMs: bounds.retryMaxMs },
  });
  const watch = startWatch({
    broker,
    store,
    partitions: pipeline.partitions,
    intervalMs: bounds.watchIntervalMs,
  });
  const notReady = async () => [
    ...(keeper.state().active === null ? ['model: not recorded in the store yet'] : []),
    ...((await store.isReady()) ? [] : ['store: it does not answer']),
    ...(isConsuming && broker.isReady() ? [] : ['broker: not connected']),
    ...pipeline.troubles(),
  ];
  const app = createApp({
    store,
    broker,
    keeper,
    challenger: comparison?.challenger ?? null,
    modelName: config.model.name,
    scorer: config.scorer,
    adminToken: config.adminToken,
    changeDeadlineMs: bounds.modelAnswerMs,
    notReady,
    metrics,
    readingsTopic: config.topics.readings,
    bodySizeMax: bounds.requestBodySizeMax,
    queryRowsMax: bounds.queryRowsMax,
    confirmDeadlineMs: bounds.confirmDeadlineMs,
    onFailure: createFailureLog(log, isNews),
    onOrder: (order) => log.info(order, 'an order was carried out'),
  });
  const server = listen(config, app.fetch);
  log.info({ address: server.url.href, backend: config.backend.kind, scorer: config.scorer }, 'listening');

  let endTriggers = () => Promise.resolve();
  const begin = async () => {
    const again = <T>(what: string, work: () => Promise<T>) =>
      retry(what, work, { log, signal: stopping.signal });
    await again('preparing the store', () => store.migrate());
    await again('making day partitions', () => store.maintain(Date.now()));
    await again('recording the model', () => keeper.begin());
    const { registryUri: _, file: __, pollIntervalMs, ...followed } = config.model;
    endTriggers = startTriggers({
      keeper,
      followed,
      challenger:
        comparison === null ? null : { alias: config.shadow.alias, look: comparison.challenger.look },
      updates,
      pollIntervalMs,
      random: Math.random,
      log,
    });
    await again('joining the group', () => broker.consume(pipeline.handlers));
    isConsuming = true;
  };
  const begun = begin().catch((error: Error) => {
    if (!stopping.signal.aborted) hooks.onFatal(error);
  });
  const maintenance = setInterval(() => {
    store.maintain(Date.now()).catch((error: Error) => {
      if (isNews(`maintenance ${error.message}`))
        log.warn({ err: error }, 'maintenance failed and is tried again');
    });
  }, bounds.maintainIntervalMs);

  return {
    address: server.url.href,
    broker,
    store,
    async stop() {
      stopping.abort();
      watch.stop();
      clearInterval(maintenance);
      // Requests under way get their answers; a client that stalls does not hold up the rest.
      await Promise.race([server.stop(), Bun.sleep(bounds.requestDrainMs)]);
      if (!isConsuming) await store.close(); // The start may be waiting for it.
      await Promise.all([server.stop(true), begun]);
      await Promise.all([endTriggers(), keeper.stop(), comparison?.stop(), broker.close()]);
      await store.close();
    },
  };
}

type Surroundings = { readonly store: Store; readonly metrics: Metrics; readonly log: Logger };

function connectRegistry({ model: { registryUri: uri, name } }: Config): Registry | null {
  if (uri === undefined) return null;
  return createRegistry({
    uri,
    name,
    forestSizeMax,
    answerDeadlineMs: bounds.registryAnswerMs,
    downloadDeadlineMs: bounds.registryDownloadMs,
    tryCount: bounds.registryTryCount,
    retry: { firstMs: bounds.registryRetryFirstMs, maxMs: bounds.registryRetryMaxMs },
    wait: (milliseconds, signal) => setTimeout(milliseconds, undefined, { signal }),
    random: Math.random,
  });
}

/** The registry's model, or without a registry the file's. */
function createKeeper(
  { model, dataFolder, scorer }: Config,
  registry: Registry | null,
  { store, metrics, log }: Surroundings,
): ModelKeeper {
  const { name, alias } = model;
  const file = createFileSource(model.file, forestSizeMax);
  return createModelKeeper({
    source: registry === null ? file : createRegistrySource(registry, alias),
    fallback: registry === null ? null : file,
    cache: createModelCache(join(dataFolder, 'models'), name),
    store,
    name,
    scorer,
    startDeadlineMs: bounds.modelStartMs,
    log,
    observer: metrics,
    now: Date.now,
  });
}

/** The challenger and its shadow; null without a registry, or when no message is to be sampled. */
function createComparison(
  { model: { name }, shadow: { alias, sampleRate }, topics }: Config,
  registry: Registry | null,
  { keeper, store, metrics, log }: Surroundings & { readonly keeper: ModelKeeper },
) {
  if (registry === null || sampleRate === 0) return null;
  const challenger = createChallengerKeeper({
    source: createRegistrySource(registry, alias),
    store,
    active: () => keeper.state().active,
    name,
    log,
    observer: metrics,
    now: Date.now,
  });
  const shadow = createShadow({
    challenger: () => challenger.state().challenger,
    store,
    topic: topics.readings,
    sampleRate,
    waitingMax: bounds.shadowWaitingMax,
    blockRowsMax: bounds.shadowBlockRowsMax,
    turnRowsMax: bounds.shadowTurnRowsMax,
    log,
    observer: metrics,
  });
  const stop = () => Promise.all([challenger.stop(), shadow.close()]);
  return { challenger, shadow, stop };
}

function explainStart(file: string) {
  return (error: Error): never => {
    if (!(error instanceof ModelFailure)) throw error;
    const advice = `Set MODEL_FILE, now ${file}, to a .forest file that can be used.`;
    throw new StartError(`${error.message} ${advice}`, { cause: error });
  };
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
    const hints: Readonly<Record<string, string>> = {
      EADDRINUSE: 'another program listens there; set PORT to a free one',
      ENOENT: 'no such host; set HOST to a name or address of this machine',
      EADDRNOTAVAIL: 'that is no address of this machine; set HOST to one of it',
    };
    const hint = hints[code ?? ''] ?? message;
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
