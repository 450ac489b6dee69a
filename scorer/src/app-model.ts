// The HTTP interface to the model that scores: what it is, another one, and back again. Changes need the bearer ADMIN_TOKEN.
import { createHash, timingSafeEqual } from 'node:crypto';
import { createRoute, type OpenAPIHono, z } from '@hono/zod-openapi';
import type { Context } from 'hono';
import { readBody } from './app-body.ts';
import { DeadlinePassed, within } from './app-deadline.ts';
import { Problem } from './app-problems.ts';
import { changeSchema, json, type ModelAnswer, modelSchema, problem, retryProblem } from './app-schemas.ts';
import type { ChallengerKeeper } from './challenger-keeper.ts';
import { type FailureReason, ModelFailure } from './model-failure.ts';
import type { KeeperState, ModelKeeper, ResidentModel } from './model-keeper.ts';
import type { Identity } from './model-source.ts';

/** What somebody who may change the model asked for, and whether it changed. */
export type CarriedOut = {
  readonly requestId: string;
  readonly order: 'swap' | 'rollback';
  readonly requestedBy: string;
  readonly why: string;
  readonly isSwapped: boolean;
};

export type ModelRouteOptions = {
  readonly keeper: Pick<ModelKeeper, 'state' | 'look' | 'rollBack'>;
  /** Null when no challenger is followed. */
  readonly challenger: Pick<ChallengerKeeper, 'state' | 'look'> | null;
  readonly modelName: string;
  readonly scorer: string;
  /** Undefined: nobody may change the model. */
  readonly adminToken: string | undefined;
  /** A change that takes longer goes on without whoever asked for it. */
  readonly changeDeadlineMs: number;
  readonly onOrder: (order: CarriedOut) => void;
};

const bodySizeMax = 16 << 10;
const byLengthMax = 200;
const whyLengthMax = 1_000;

const orderSchema = z
  .strictObject({
    by: z.string().max(byLengthMax).optional().describe('who asks for it'),
    why: z.string().max(whyLengthMax).optional(),
  })
  .openapi('ModelOrder');

/** The model that scores; throws a Problem as long as there is none. */
export function loaded(active: ResidentModel | null): ResidentModel {
  if (active === null)
    throw new Problem(503, 'Not ready', 'No model is loaded yet: /readyz says what it waits for.');
  return active;
}

export function addModelRoutes(app: OpenAPIHono, options: ModelRouteOptions): void {
  const { keeper } = options;
  app.openapi(
    createRoute({
      method: 'get',
      path: '/v1/model',
      summary: 'The model that scores, and what became of the last look for another one',
      responses: {
        200: json(modelSchema, 'what its file says of itself, and where it is from'),
        503: retryProblem('no model is loaded yet'),
      },
    }),
    (context) => context.json(describeModel(options), 200),
  );

  app.openAPIRegistry.registerComponent('securitySchemes', 'bearer', {
    type: 'http',
    scheme: 'bearer',
    description: 'ADMIN_TOKEN',
  });
  const changeRoute = (path: string, summary: string, done: string) =>
    app.openAPIRegistry.registerPath(
      createRoute({
        method: 'post',
        path,
        summary,
        security: [{ bearer: [] }],
        request: { body: { required: false, content: { 'application/json': { schema: orderSchema } } } },
        responses: {
          200: json(changeSchema, done),
          400: problem('the body is not what it should be'),
          401: problem('the bearer token is missing or another one'),
          403: problem('this scorer has no ADMIN_TOKEN'),
          409: problem('there is no such model, or it is refused; the running one goes on'),
          413: problem('the body is too large'),
          502: problem('the registry answers with an error; the running model goes on'),
          503: retryProblem('no model is loaded yet, or the store is away; the running one goes on'),
          504: problem('the registry does not answer, or the change is still under way'),
        },
      }),
    );

  changeRoute(
    '/v1/model/swap',
    'Look for another model now',
    'what scores now; not swapped: it was in use already',
  );
  app.post('/v1/model/swap', async (context) => {
    const order = await readOrder(context, options.adminToken);
    loaded(keeper.state().active);
    const isSwapped = await within(
      options.changeDeadlineMs,
      keeper.look({ cause: 'request', ...order }),
    ).catch(explain);
    void options.challenger?.look();
    options.onOrder({ requestId: context.get('requestId'), order: 'swap', ...order, isSwapped });
    return context.json({ swapped: isSwapped, model: describeModel(options) });
  });

  changeRoute('/v1/model/rollback', 'Back to the model before, at once', 'what scores now');
  app.post('/v1/model/rollback', async (context) => {
    const order = await readOrder(context, options.adminToken);
    loaded(keeper.state().active);
    const isSwapped = await within(options.changeDeadlineMs, keeper.rollBack(order)).catch(explain);
    if (!isSwapped) {
      const detail = 'This scorer has used no other model since it started, or went back to it already.';
      throw new Problem(409, 'There is no model to go back to', detail, { reason: 'no-previous' });
    }
    options.onOrder({ requestId: context.get('requestId'), order: 'rollback', ...order, isSwapped });
    return context.json({ swapped: true, model: describeModel(options) });
  });
}

function describeModel({ keeper, challenger: followed, modelName, scorer }: ModelRouteOptions): ModelAnswer {
  const { active, previous, heldBack, lastFailure } = keeper.state();
  const { engine, version, source, loadedAtMs } = loaded(active);
  const { challenger = null, lastFailure: challengerFailure = null } = followed?.state() ?? {};
  const { summary: _, features, units, ...model } = engine.model;
  const identify = ({ version: itsVersion, sha256 }: Identity) => ({ version: itsVersion, sha256 });
  return {
    name: modelName,
    version,
    source,
    ...model,
    features: [...features],
    units: [...units],
    loadedAt: new Date(loadedAtMs).toISOString(),
    engine: engine.scoring,
    scorer,
    previous: previous === null ? null : identify(previous),
    heldBack: heldBack === null ? null : heldBack.version,
    challenger: challenger === null ? null : identify(challenger),
    challengerFailure: describeFailure(challengerFailure),
    lastFailure: describeFailure(lastFailure),
  };
}

const describeFailure = (failure: KeeperState['lastFailure']) =>
  failure === null ? null : { at: new Date(failure.atMs).toISOString(), what: failure.what };

/** Who asks, and why. Throws a Problem unless they may. */
async function readOrder(context: Context, adminToken: string | undefined) {
  checkToken(context.req.header('authorization'), adminToken);
  const body = new TextDecoder().decode(await readBody(context.req.raw, bodySizeMax));
  const { by, why } = body === '' ? {} : parseOrder(body);
  return { requestedBy: by ?? '', why: why ?? '' };
}

function checkToken(authorization: string | undefined, adminToken: string | undefined): void {
  if (adminToken === undefined) {
    const detail = 'This scorer takes no orders: start it with ADMIN_TOKEN set.';
    throw new Problem(403, 'The model cannot be changed here', detail);
  }
  const given = /^bearer +(.*)$/i.exec(authorization ?? '')?.[1] ?? '';
  // Digests are of one length, and how long they take to compare tells nothing of the token.
  const digest = (token: string) => createHash('sha256').update(token).digest();
  if (timingSafeEqual(digest(given), digest(adminToken))) return;
  const detail = 'Send the header authorization: Bearer, with the ADMIN_TOKEN of this scorer.';
  throw new Problem(401, 'The token is missing or another one', detail);
}

function parseOrder(body: string): z.infer<typeof orderSchema> {
  try {
    return orderSchema.parse(JSON.parse(body));
  } catch {
    const detail = `Send nothing, or {"by": "…", "why": "…"} with at most ${byLengthMax} and ${whyLengthMax} characters.`;
    throw new Problem(400, 'The body cannot be used', detail);
  }
}

function explain(error: unknown): never {
  if (error instanceof DeadlinePassed) {
    const detail = 'The model is still being changed: GET /v1/model will show how it ended.';
    throw new Problem(504, 'Still under way', detail);
  }
  if (!(error instanceof ModelFailure)) throw error;
  const title = 'The model stays as it is';
  const { reason, cause } = error;
  throw new Problem(statusOf(reason), title, error.message, { reason, cause });
}

function statusOf(reason: FailureReason): 409 | 502 | 503 | 504 {
  switch (reason) {
    case 'registry-away':
      return 504;
    case 'registry-error':
      return 502;
    case 'store':
      return 503;
    case 'alias-missing':
    case 'digest':
    case 'too-large':
    case 'file':
    case 'forest':
    case 'features':
    case 'cache':
    case 'superseded':
      return 409;
  }
}
