// The HTTP interface: health, metrics, scoring on request, readings into the log, verdicts out of the store.
import { createRoute, OpenAPIHono, type z } from '@hono/zod-openapi';
import type { Block, Engine } from '@lonetree/core-wasm';
import type { Context } from 'hono';
import { HTTPException } from 'hono/http-exception';
import { requestId } from 'hono/request-id';
import { firstStation, readBatch } from './app-body.ts';
import { within } from './app-deadline.ts';
import { addModelRoutes, loaded, type ModelRouteOptions } from './app-model.ts';
import { answerProblem, Problem, type RequestFailure, refusedReadings } from './app-problems.ts';
import { nextCursor, querySchema, toStoreQuery } from './app-query.ts';
import {
  anomalySchema,
  json,
  pageOf,
  predictionSchema,
  problem,
  readingsBody,
  refusals,
  retryProblem,
  type StoredAnswer,
  takenSchema,
  type VerdictAnswer,
  verdictsSchema,
} from './app-schemas.ts';
import { type Broker, MessageTooLarge, NothingPublished } from './broker.ts';
import { shortFloat32 } from './float32.ts';
import type { Metrics } from './metrics.ts';
import type { AnomalyRecord, PredictionRecord, Store } from './store.ts';

type Scoring = Pick<Engine, 'begin' | 'append' | 'score'>;

export type AppOptions = ModelRouteOptions & {
  readonly store: Store;
  readonly broker: Broker;
  /** What is not ready yet, in words; empty when the scorer is ready. */
  readonly notReady: () => Promise<readonly string[]>;
  readonly metrics: Pick<Metrics, 'registry'>;
  readonly readingsTopic: string;
  readonly bodySizeMax: number;
  readonly queryRowsMax: number;
  readonly confirmDeadlineMs: number;
  readonly onFailure: (failure: RequestFailure) => void;
};

export function createApp(options: AppOptions): OpenAPIHono {
  const answer = (context: Context, failure: Problem) => {
    const { method, path } = context.req;
    options.onFailure({ requestId: context.get('requestId'), method, path, problem: failure });
    return answerProblem(context, failure);
  };
  const app = new OpenAPIHono({
    defaultHook: (result, context) => {
      if (result.success) return;
      const detail = result.error.issues.map(({ path, message }) => [...path, message].join(': ')).join('; ');
      return answer(context, new Problem(400, 'The query cannot be used', detail));
    },
  });
  // Taken from who asks, if it is one, and in every answer: the log names failed requests by it.
  app.use(requestId());
  addStateRoutes(app, options);
  addTakingRoutes(app, options);
  addListRoutes(app, options);
  app.doc31('/openapi.json', {
    openapi: '3.1.0',
    info: { title: 'Lonetree', version: '1', description: 'Real-time anomaly detection for sensor streams' },
  });

  app.notFound((context) => {
    const { path } = context.req;
    const routes = app.routes.filter((route) => route.path === path && route.method !== 'ALL');
    const allowed = [...new Set(routes.map(({ method }) => method))];
    if (allowed.length === 0) {
      const detail = `${path} is not here; /openapi.json describes the API.`;
      return answer(context, new Problem(404, 'There is no such page', detail));
    }
    context.header('allow', allowed.join(', '));
    const detail = `${path} takes ${allowed.join(' or ')}.`;
    return answer(context, new Problem(405, 'The method is not allowed', detail));
  });

  app.onError((error, context) => answer(context, toProblem(error)));
  return app;
}

function toProblem(error: Error): Problem {
  if (error instanceof Problem) return error;
  if (error instanceof HTTPException && error.status < 500)
    return new Problem(400, 'The request cannot be read', error.message);
  const detail = 'That is a mistake of the scorer, whose log says more. Please report it.';
  return new Problem(500, 'The request could not be served', detail, { cause: error });
}

function addStateRoutes(app: OpenAPIHono, options: AppOptions): void {
  const {
    notReady,
    metrics: { registry },
  } = options;
  app.get('/', (context) =>
    context.json({
      name: 'lonetree',
      api: '/openapi.json',
      anomalies: '/v1/anomalies',
      health: '/readyz',
      metrics: '/metrics',
    }),
  );
  app.get('/healthz', (context) => context.text('ok\n'));
  app.get('/readyz', async (context) => {
    const waitingFor = await notReady();
    return waitingFor.length === 0
      ? context.json({ ready: true })
      : context.json({ ready: false, waitingFor }, 503);
  });
  app.get('/metrics', async (context) =>
    context.text(await registry.metrics(), 200, { 'content-type': registry.contentType }),
  );
  addModelRoutes(app, options);
}

/**
 * The two routes that take readings are documented by their schemas and read by the decoder that the log's messages go
 * through: it also takes Protobuf, lists and flat readings, and says what is wrong in one way everywhere.
 *
 * They use the pipeline's engine: a second one would double the memory. So nothing may wait between `begin` and the last
 * look at the block, here as there; whoever comes next finds the engine free.
 */
function addTakingRoutes(
  app: OpenAPIHono,
  { keeper, broker, readingsTopic, bodySizeMax, confirmDeadlineMs }: AppOptions,
): void {
  app.openAPIRegistry.registerPath(
    createRoute({
      method: 'post',
      path: '/v1/score',
      summary: 'Verdicts on readings, without storing them',
      request: { body: readingsBody },
      responses: { 200: json(verdictsSchema, 'verdicts in the order of the readings'), ...refusals },
    }),
  );
  app.post('/v1/score', async (context) => {
    const batch = await readBatch(context, bodySizeMax);
    const { engine, version } = loaded(keeper.state().active);
    appendAlone(engine, batch);
    const verdicts = describeVerdicts(engine.score(), engine.model.offset);
    return context.json({ modelSha256: engine.model.sha256, modelVersion: version, verdicts });
  });

  app.openAPIRegistry.registerPath(
    createRoute({
      method: 'post',
      path: '/v1/readings',
      summary: 'Readings into the log, to be scored and stored',
      request: { body: readingsBody },
      responses: {
        202: json(takenSchema, 'the log has them for good'),
        ...refusals,
        504: problem(
          'unconfirmed: the readings may or may not have been taken; sent again they may be stored twice',
        ),
      },
    }),
  );
  app.post('/v1/readings', async (context) => {
    const value = await readBatch(context, bodySizeMax);
    // Decoded for its refusal only: what the log takes, the pipeline can score.
    const readings = appendAlone(loaded(keeper.state().active).engine, value);
    const headers = { 'content-type': 'application/x-protobuf' };
    if (!broker.isReady()) throw logIsAway();
    try {
      const confirmed = broker.publish(readingsTopic, [{ key: firstStation(value), value, headers }]);
      await within(confirmDeadlineMs, confirmed);
    } catch (error) {
      if (error instanceof MessageTooLarge) throw refusedReadings(tooLargeForLog);
      throw error instanceof NothingPublished ? logIsAway(error) : unconfirmed(error);
    }
    return context.json({ readings }, 202);
  });
}

function addListRoutes(app: OpenAPIHono, { store, queryRowsMax }: AppOptions): void {
  const listRoute = <T extends z.ZodType>(path: string, summary: string, item: T) =>
    createRoute({
      method: 'get',
      path,
      summary,
      request: { query: querySchema(queryRowsMax) },
      responses: {
        200: json(pageOf(item), 'newest first'),
        400: problem('the query cannot be used'),
        503: retryProblem('the store is away'),
      },
    });
  const orAway = (error: Error): never => {
    const detail = 'The store did not answer: try again later. The log of the scorer says more.';
    throw new Problem(503, 'The store is away', detail, { cause: error });
  };

  app.openapi(
    listRoute('/v1/predictions', 'Stored verdicts, newest first', predictionSchema),
    async (context) => {
      const query = toStoreQuery(context.req.valid('query'));
      const rows = await store.predictions(query).catch(orAway);
      const items = rows.map((row) => ({ ...describeStored(row), isAnomaly: row.isAnomaly }));
      return context.json({ items, next: nextCursor(rows, query.limit) }, 200);
    },
  );
  app.openapi(
    listRoute('/v1/anomalies', 'Abnormal readings, newest first', anomalySchema),
    async (context) => {
      const query = toStoreQuery(context.req.valid('query'));
      const rows = await store.anomalies(query).catch(orAway);
      const items = rows.map((row) => ({ ...describeStored(row), id: row.id, reasons: [...row.reasons] }));
      return context.json({ items, next: nextCursor(rows, query.limit) }, 200);
    },
  );
}

/** Only where it is certain that the log got nothing: this invites to send again. */
const logIsAway = (cause?: Error) =>
  new Problem(503, 'The log is away', 'None of the readings was taken: send them again later.', { cause });

const unconfirmed = (cause: unknown) => {
  const detail =
    'The readings may or may not have been taken; /v1/predictions shows them if they were. Sent again, they may be stored twice.';
  return new Problem(504, 'Unconfirmed', detail, { reason: 'unconfirmed', cause });
};

const tooLargeForLog = {
  reason: 'too-large',
  detail: 'The log takes no message of that size: send smaller batches.',
} as const;

/** Makes the batch the engine's block; answers how many readings it has. */
function appendAlone(engine: Scoring, batch: Uint8Array): number {
  engine.begin();
  const appended = engine.append(batch);
  if ('rejected' in appended) throw refusedReadings(appended.rejected);
  if ('full' in appended) throw new Error('assertion failed: a block is full before its first reading');
  return appended.rowCount;
}

function describeVerdicts(block: Block, modelOffset: number): VerdictAnswer[] {
  const verdicts: VerdictAnswer[] = [];
  let anomalyIndex = 0;
  for (let index = 0; index < block.rowCount; index += 1) {
    const score = block.scores[index] as number;
    const severity = block.severities[index] as number;
    const isAnomaly = block.isAnomaly[index] === 1;
    verdicts.push({
      index,
      score,
      decision: score - modelOffset,
      severity: Number.isNaN(severity) ? null : severity,
      isAnomaly,
      reasons: isAnomaly ? block.reasonsOf(anomalyIndex) : [],
    });
    if (isAnomaly) anomalyIndex += 1;
  }
  return verdicts;
}

const describeStored = (row: AnomalyRecord | PredictionRecord): StoredAnswer => ({
  topic: row.topic,
  partition: row.partition,
  offset: String(row.offset),
  row: row.row,
  station: row.station,
  time: new Date(row.timeMs).toISOString(),
  values: Object.fromEntries(
    row.features.map((name, feature) => [name, shortened(row.values[feature] ?? null)]),
  ),
  score: row.score,
  decision: row.decision,
  severity: row.severity,
  modelSha256: row.modelSha256,
  modelVersion: row.modelVersion,
});

const shortened = (value: number | null) => (value === null ? null : shortFloat32(value));
