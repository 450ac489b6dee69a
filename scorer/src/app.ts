// The HTTP interface: health, metrics, scoring on request, readings into the log, verdicts out of the store.
import { createRoute, OpenAPIHono, z } from '@hono/zod-openapi';
import type { Appended, Block, Rejection } from '@lonetree/core-wasm';
import type { Context } from 'hono';
import { bodyLimit } from 'hono/body-limit';
import { HTTPException } from 'hono/http-exception';
import { type Broker, MessageTooLarge } from './broker.ts';
import { shortFloat32 } from './float32.ts';
import type { Metrics } from './metrics.ts';
import type { ActiveModel } from './pipeline.ts';
import { encodeJsonReadings } from './reading-json.ts';
import type { AnomalyRecord, Cursor, PredictionRecord, ReadingQuery, Store } from './store.ts';

export type AppOptions = {
  readonly store: Store;
  readonly broker: Broker;
  /** Null until the model is loaded and recorded. */
  readonly activeModel: () => (ActiveModel & { readonly loadedAtMs: number; readonly name: string }) | null;
  /** What is not ready yet, in words; empty when the scorer is ready. */
  readonly notReady: () => Promise<readonly string[]>;
  readonly metrics: Pick<Metrics, 'contentType' | 'text'>;
  readonly readingsTopic: string;
  readonly bodySizeMax: number;
  readonly queryRowsMax: number;
  readonly onError: (error: Error) => void;
};

const problemSchema = z
  .object({
    type: z.string(),
    title: z.string(),
    status: z.int(),
    detail: z.string(),
    reason: z.string().optional().describe('for a refused message: one short word'),
  })
  .openapi('Problem', { description: 'RFC 9457' });

const readingSchema = z
  .object({
    station: z.string().min(1),
    time: z
      .union([z.number(), z.string()])
      .optional()
      .describe('milliseconds since 1970, or ISO 8601; now when absent'),
    values: z.record(z.string(), z.number().nullable()).describe('by feature; null where missing'),
  })
  .openapi('Reading', {
    example: {
      station: 'press-1',
      time: 1_795_392_000_000,
      values: { temperature: 28.7, humidity: 17.5, sound: 54.3 },
    },
  });

const readingsSchema = z
  .union([
    readingSchema,
    z.array(readingSchema).min(1),
    z.object({ readings: z.array(readingSchema).min(1) }),
  ])
  .openapi('Readings');

const verdictSchema = z
  .object({
    score: z.number().describe("scikit-learn's score_samples: −1 … 0, lower is more abnormal"),
    decision: z.number().describe('score − offset; negative: the forest calls it abnormal'),
    severity: z.number().nullable().describe('decades of rarity; null when the model carries no calibration'),
    isAnomaly: z.boolean(),
    reasons: z.array(z.string()).describe('forest, high:<feature>, low:<feature>, missing:<feature>'),
  })
  .openapi('Verdict');

const storedSchema = z.object({
  topic: z.string(),
  partition: z.int(),
  offset: z.string(),
  row: z.int(),
  station: z.string(),
  time: z.iso.datetime(),
  values: z.record(z.string(), z.number().nullable()),
  score: z.number(),
  decision: z.number(),
  severity: z.number().nullable(),
  modelSha256: z.string(),
});
const predictionSchema = storedSchema.extend({ isAnomaly: z.boolean() }).openapi('Prediction');
const anomalySchema = storedSchema
  .extend({ id: z.string(), reasons: z.array(z.string()) })
  .openapi('Anomaly');

const modelSchema = z
  .object({
    name: z.string(),
    sha256: z.string(),
    features: z.array(z.string()),
    units: z.array(z.string()),
    treeCount: z.int(),
    maxSamples: z.int(),
    maxDepth: z.int(),
    offset: z.number(),
    alarmRate: z
      .number()
      .nullable()
      .describe('nominal share of ordinary readings called abnormal; null without guards'),
    meta: z.record(z.string(), z.unknown()).nullable().describe('what made the file'),
    loadedAt: z.iso.datetime(),
  })
  .openapi('Model');

const instant = z
  .string()
  .refine(
    (text) => !Number.isNaN(Date.parse(text)),
    'give a time as ISO 8601, for example 2026-11-23T12:00:00Z',
  )
  // All readings lie in the years 2000 to 2100: beyond them the answer stays the same, and no database knows every year.
  .transform((text) => Math.min(Math.max(Date.parse(text), Date.UTC(2000)), Date.UTC(2101)));

const querySchema = (rowsMax: number) =>
  z.object({
    station: z
      .string()
      .min(1)
      .regex(/^[^\0]*$/, 'no name has a NUL character')
      .optional(),
    from: instant.optional().describe('inclusive, ISO 8601'),
    to: instant.optional().describe('exclusive, ISO 8601'),
    limit: z.coerce.number().int().min(1).max(rowsMax).default(100),
    cursor: z.string().optional().describe('`next` of the answer before'),
  });
type Query = z.infer<ReturnType<typeof querySchema>>;

const json = <T extends z.ZodType>(schema: T, description: string) => ({
  description,
  content: { 'application/json': { schema } },
});
const problem = (description: string) => ({
  description,
  content: { 'application/problem+json': { schema: problemSchema } },
});
const refusals = {
  400: problem('the message cannot be read'),
  413: problem('the body is too large'),
  415: problem('the content type is neither JSON nor Protobuf'),
  422: problem('the message can be read and not scored'),
  503: problem('not ready'),
};
const readingsBody = {
  required: true,
  description: 'Readings in JSON, or a SensorBatch in Protobuf',
  content: {
    'application/json': { schema: readingsSchema },
    'application/x-protobuf': { schema: z.string().openapi({ format: 'binary' }) },
  },
};

export function createApp(options: AppOptions): OpenAPIHono {
  const { store, broker, metrics } = options;
  const app = new OpenAPIHono({
    defaultHook: (result, context) => {
      if (result.success) return;
      const detail = result.error.issues
        .map(({ path, message }) => `${path.join('.')}: ${message}`)
        .join('; ');
      return answerProblem(context, 400, 'The query cannot be used', detail);
    },
  });

  app.use(
    '/v1/*',
    bodyLimit({
      maxSize: options.bodySizeMax,
      onError: (context) =>
        answerProblem(
          context,
          413,
          'The body is too large',
          `The most is ${options.bodySizeMax} bytes: send the readings in smaller batches.`,
        ),
    }),
  );

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
    const notReady = await options.notReady();
    return notReady.length === 0
      ? context.json({ ready: true })
      : context.json({ ready: false, waitingFor: notReady }, 503);
  });
  app.get('/metrics', async (context) =>
    context.text(await metrics.text(), 200, { 'content-type': metrics.contentType }),
  );

  // These two are documented by their schemas and read by the decoder that the log's messages go through: it also takes
  // Protobuf, lists and flat readings, and says what is wrong in one way everywhere.
  app.openAPIRegistry.registerPath(
    createRoute({
      method: 'post',
      path: '/v1/score',
      summary: 'Verdicts on readings, without storing them',
      request: { body: readingsBody },
      responses: {
        200: json(
          z.object({ modelSha256: z.string(), verdicts: z.array(verdictSchema) }),
          'verdicts in the order of the readings',
        ),
        ...refusals,
      },
    }),
  );
  app.post('/v1/score', async (context) => {
    const decoded = await readBatch(context);
    if (decoded instanceof Response) return decoded;
    const active = options.activeModel();
    if (active === null) return noModel(context);
    const { engine } = active;
    // Nothing may wait between begin and the last look at the block: the pipeline uses the same engine.
    engine.begin();
    const refused = refusal(engine.append(decoded));
    if (refused !== null) return answerRejection(context, refused);
    return context.json(
      { modelSha256: engine.model.sha256, verdicts: describeVerdicts(engine.score(), engine.model.offset) },
      200,
    );
  });

  app.openAPIRegistry.registerPath(
    createRoute({
      method: 'post',
      path: '/v1/readings',
      summary: 'Readings into the log, to be scored and stored',
      request: { body: readingsBody },
      responses: { 202: json(z.object({ readings: z.int() }), 'the log has them for good'), ...refusals },
    }),
  );
  app.post('/v1/readings', async (context) => {
    const decoded = await readBatch(context);
    if (decoded instanceof Response) return decoded;
    const active = options.activeModel();
    if (active === null) return noModel(context);
    const { engine } = active;
    engine.begin();
    const appended = engine.append(decoded);
    const refused = refusal(appended);
    if (refused !== null) return answerRejection(context, refused);
    const block = engine.score();
    const { rowCount } = block;
    const key = block.station(0);
    try {
      await broker.publish(options.readingsTopic, [
        { key, value: decoded, headers: { 'content-type': 'application/x-protobuf' } },
      ]);
    } catch (error) {
      if (error instanceof MessageTooLarge) return answerRejection(context, tooLargeForLog);
      options.onError(error as Error);
      return answerProblem(
        context,
        503,
        'The log is away',
        'The readings were not confirmed: send them again later.',
      );
    }
    return context.json({ readings: rowCount }, 202);
  });

  const queryRoute = <T extends z.ZodType>(path: string, summary: string, item: T) =>
    createRoute({
      method: 'get',
      path,
      summary,
      request: { query: querySchema(options.queryRowsMax) },
      responses: {
        200: json(
          z.object({ items: z.array(item), next: z.string().nullable().describe('cursor of what follows') }),
          'newest first',
        ),
        400: problem('the query cannot be used'),
      },
    });

  app.openapi(
    queryRoute('/v1/predictions', 'Stored verdicts, newest first', predictionSchema),
    async (context) => {
      const query = toStoreQuery(context.req.valid('query'));
      if (query === null) return badCursor(context);
      const rows = await store.predictions(query);
      return context.json(
        {
          items: rows.map((row) => ({ ...describeStored(row), isAnomaly: row.isAnomaly })),
          next: nextCursor(rows, query.limit),
        },
        200,
      );
    },
  );

  app.openapi(
    queryRoute('/v1/anomalies', 'Abnormal readings, newest first', anomalySchema),
    async (context) => {
      const query = toStoreQuery(context.req.valid('query'));
      if (query === null) return badCursor(context);
      const rows = await store.anomalies(query);
      return context.json(
        {
          items: rows.map((row) => ({ ...describeStored(row), id: row.id, reasons: [...row.reasons] })),
          next: nextCursor(rows, query.limit),
        },
        200,
      );
    },
  );

  app.openapi(
    createRoute({
      method: 'get',
      path: '/v1/model',
      summary: 'The model that scores',
      responses: {
        200: json(modelSchema, 'what its file says of itself'),
        503: problem('no model is loaded yet'),
      },
    }),
    (context) => {
      const active = options.activeModel();
      if (active === null) return noModel(context);
      const { summary: _, features, units, ...model } = active.engine.model;
      const loadedAt = new Date(active.loadedAtMs).toISOString();
      return context.json(
        { name: active.name, ...model, features: [...features], units: [...units], loadedAt },
        200,
      );
    },
  );

  app.doc31('/openapi.json', {
    openapi: '3.1.0',
    info: { title: 'Lonetree', version: '1', description: 'Real-time anomaly detection for sensor streams' },
  });

  app.notFound((context) => {
    const allowed = app.routes
      .filter(({ path, method }) => context.req.path === path && method !== 'ALL')
      .map(({ method }) => method);
    if (allowed.length === 0)
      return answerProblem(
        context,
        404,
        'There is no such page',
        `${context.req.path} is not here; /openapi.json lists what is.`,
      );
    context.header('allow', [...new Set(allowed)].join(', '));
    return answerProblem(
      context,
      405,
      'The method is not allowed',
      `${context.req.path} takes ${[...new Set(allowed)].join(' or ')}.`,
    );
  });
  app.onError((error, context) => {
    if (error instanceof HTTPException)
      return answerProblem(context, error.status as 400, 'The request cannot be read', error.message);
    options.onError(error);
    return answerProblem(
      context,
      503,
      'The request could not be served',
      'The store or the log did not answer: try again later. The log of the scorer says more.',
    );
  });
  return app;
}

/** An answer of RFC 9457. Typed as any route's answer: every route documents its problems. */
function answerProblem(
  context: Context,
  status: 400 | 404 | 405 | 413 | 415 | 422 | 503,
  title: string,
  detail: string,
  reason?: string,
): never {
  const body = { type: 'about:blank', title, status, detail, ...(reason === undefined ? {} : { reason }) };
  return context.body(JSON.stringify(body), status, { 'content-type': 'application/problem+json' }) as never;
}

const noModel = (context: Context) => answerProblem(context, 503, 'Not ready', 'No model is loaded yet.');
const badCursor = (context: Context) =>
  answerProblem(
    context,
    400,
    'The query cannot be used',
    'cursor: it is not one that an answer before named in `next`',
  );

/** What is wrong with the bytes is the sender's 400; what is wrong with the readings 422. */
function answerRejection(context: Context, { reason, detail }: Rejection): never {
  const status =
    reason === 'too-large'
      ? 413
      : ['truncated', 'malformed', 'bad-json', 'empty-message'].includes(reason)
        ? 400
        : 422;
  return answerProblem(context, status, 'The readings cannot be scored', detail, reason);
}

const tooLargeForLog: Rejection = {
  reason: 'too-large',
  detail: 'The log takes no message of that size: send smaller batches.',
};

function refusal(appended: Appended): Rejection | null {
  if ('rejected' in appended) return appended.rejected;
  if ('full' in appended)
    return {
      reason: 'too-large',
      detail: 'The batch has more readings than fit into one block: send smaller batches.',
    };
  return null;
}

/** The body as a SensorBatch in Protobuf, or the answer that refuses it. */
async function readBatch(context: Context): Promise<Uint8Array | Response> {
  const type = (context.req.header('content-type') ?? '').split(';')[0]?.trim().toLowerCase();
  const encoding = context.req.header('content-encoding') ?? 'identity';
  const isJson = type === 'application/json';
  if (encoding !== 'identity')
    return answerProblem(
      context,
      415,
      'The content encoding is not supported',
      `Send the body as it is, not as ${encoding}.`,
    );
  if (!isJson && type !== 'application/x-protobuf' && type !== 'application/protobuf') {
    return answerProblem(
      context,
      415,
      'The content type is not supported',
      'Send application/json, or a SensorBatch as application/x-protobuf.',
    );
  }
  const body = new Uint8Array(await context.req.arrayBuffer());
  if (body.length === 0)
    return answerRejection(context, { reason: 'empty-message', detail: 'The body is empty.' });
  if (!isJson) return body;
  const encoded = encodeJsonReadings(body, { fallbackTimeMs: Date.now() });
  return 'rejected' in encoded ? answerRejection(context, encoded.rejected) : encoded.batch;
}

function describeVerdicts(block: Block, modelOffset: number): z.infer<typeof verdictSchema>[] {
  const verdicts = Array.from({ length: block.rowCount }, (_, row) => {
    const score = block.scores[row] as number;
    const severity = block.severities[row] as number;
    return {
      score,
      decision: score - modelOffset,
      severity: Number.isNaN(severity) ? null : severity,
      isAnomaly: false,
      reasons: [] as string[],
    };
  });
  for (const [index, row] of block.anomalyRows.entries()) {
    Object.assign(verdicts[row] as object, { isAnomaly: true, reasons: block.reasonsOf(index) });
  }
  return verdicts;
}

const describeStored = (row: AnomalyRecord | PredictionRecord): z.infer<typeof storedSchema> => ({
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
});

const shortened = (value: number | null) => (value === null ? null : shortFloat32(value));

/** Null when the cursor is not one of ours. */
function toStoreQuery({ station, from, to, limit, cursor }: Query): ReadingQuery | null {
  const after = cursor === undefined ? undefined : readCursor(cursor);
  if (after === null) return null;
  return {
    limit,
    ...(station === undefined ? {} : { station }),
    ...(from === undefined ? {} : { fromMs: from }),
    ...(to === undefined ? {} : { toMs: to }),
    ...(after === undefined ? {} : { after }),
  };
}

const readingTime = z.int().min(Date.UTC(2000)).lt(Date.UTC(2101));
const cursorSchema = z.tuple([readingTime, z.int32(), z.string().regex(/^\d{1,18}$/), z.int32()]);

function nextCursor(rows: readonly (AnomalyRecord | PredictionRecord)[], limit: number): string | null {
  const last = rows.at(-1);
  if (last === undefined || rows.length < limit) return null;
  return Buffer.from(JSON.stringify([last.timeMs, last.partition, String(last.offset), last.row])).toString(
    'base64url',
  );
}

function readCursor(text: string): Cursor | null {
  try {
    const [timeMs, partition, offset, row] = cursorSchema.parse(
      JSON.parse(Buffer.from(text, 'base64url').toString()),
    );
    return { timeMs, partition, offset: BigInt(offset), row };
  } catch {
    return null; // Whatever it is, it is the sender's.
  }
}
