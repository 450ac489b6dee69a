// What the HTTP interface takes and answers, as schemas: /openapi.json is made of them.
import { z } from '@hono/zod-openapi';

const problemSchema = z
  .object({
    type: z.string(),
    title: z.string(),
    status: z.int(),
    detail: z.string(),
    reason: z
      .string()
      .optional()
      .describe('why readings were refused or are unconfirmed, or why the model stays: one short word'),
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

const modelVersion = z.string().describe('in the registry; empty for a file');

const verdictSchema = z
  .object({
    index: z.int().describe('0-based place of the reading in the request'),
    score: z.number().describe("scikit-learn's score_samples: −1 … 0, lower is more abnormal"),
    decision: z.number().describe('score − offset; negative: the forest calls it abnormal'),
    severity: z.number().nullable().describe('decades of rarity; null when the model carries no calibration'),
    isAnomaly: z.boolean(),
    reasons: z.array(z.string()).describe('forest, high:<feature>, low:<feature>, missing:<feature>'),
  })
  .openapi('Verdict');
export type VerdictAnswer = z.infer<typeof verdictSchema>;

export const verdictsSchema = z
  .object({ modelSha256: z.string(), modelVersion, verdicts: z.array(verdictSchema) })
  .openapi('Verdicts');

export const takenSchema = z.object({ readings: z.int().describe('how many') }).openapi('Taken');

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
  modelVersion,
});
export type StoredAnswer = z.infer<typeof storedSchema>;

export const predictionSchema = storedSchema.extend({ isAnomaly: z.boolean() }).openapi('Prediction');
export const anomalySchema = storedSchema
  .extend({ id: z.string(), reasons: z.array(z.string()) })
  .openapi('Anomaly');

const failureSchema = z.object({ at: z.iso.datetime(), what: z.string() });
const identitySchema = z.object({ version: modelVersion, sha256: z.string() });

export const modelSchema = z
  .object({
    name: z.string(),
    version: modelVersion,
    source: z
      .enum(['registry', 'cache', 'file'])
      .describe('where it is from; cache: the last good one, kept on disk'),
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
    engine: z
      .enum(['walk', 'cells', 'grid'])
      .describe('how scores are found: along the trees, or by look-ups; the same bits'),
    scorer: z.string().describe('the name of the scorer that answers'),
    previous: identitySchema.nullable().describe('where a rollback leads'),
    heldBack: z
      .string()
      .nullable()
      .describe('version that was rolled back from, and is not followed until another one is named'),
    challenger: identitySchema.nullable().describe('scores a sample of the messages in shadow'),
    challengerFailure: failureSchema
      .nullable()
      .describe('why the last look for the challenger did not end well; null when it did'),
    lastFailure: failureSchema
      .nullable()
      .describe('why the last look for another model did not end well; null when it did'),
  })
  .openapi('Model');
export type ModelAnswer = z.infer<typeof modelSchema>;

export const changeSchema = z
  .object({ swapped: z.boolean().describe('whether another model scores than before'), model: modelSchema })
  .openapi('ModelChange');

/** A page of a list, newest first. */
export const pageOf = <T extends z.ZodType>(item: T) =>
  z.object({ items: z.array(item), next: z.string().nullable().describe('cursor of what follows') });

export const json = <T extends z.ZodType>(schema: T, description: string) => ({
  description,
  content: { 'application/json': { schema } },
});

export const problem = (description: string) => ({
  description,
  content: { 'application/problem+json': { schema: problemSchema } },
});

export const retryProblem = (description: string) => ({
  ...problem(description),
  headers: z.object({ 'retry-after': z.string().describe('seconds') }),
});

export const readingsBody = {
  required: true,
  description: 'Readings in JSON, or a SensorBatch in Protobuf',
  content: {
    'application/json': { schema: readingsSchema },
    'application/x-protobuf': { schema: z.string().openapi({ format: 'binary' }) },
  },
};

export const refusals = {
  400: problem('the message cannot be read'),
  413: problem('the body is too large'),
  415: problem('the content type is neither JSON nor Protobuf'),
  422: problem('the message can be read and not scored'),
  503: retryProblem('not ready: nothing was done, and the same request can be sent again'),
};
