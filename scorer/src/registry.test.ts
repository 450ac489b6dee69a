import { afterEach, beforeEach, expect, test } from 'bun:test';
import { digest, type FakeMlflow, registeredAtMs, startFakeMlflow } from '../test/fake-mlflow.ts';
import { ModelFailure } from './model-failure.ts';
import { createRegistry, type RegistryOptions } from './registry.ts';

const artifact = Uint8Array.from({ length: 100_000 }, (_, index) => index * 7);
const { signal: never } = new AbortController();
let mlflow: FakeMlflow;
let waits: number[];

beforeEach(() => {
  mlflow = startFakeMlflow();
  mlflow.versions.set('4', { artifact });
  mlflow.aliases.set('champion', '4');
  waits = [];
});
afterEach(() => mlflow.stop());

const registryWith = (changes: Partial<RegistryOptions> = {}) =>
  createRegistry({
    uri: mlflow.uri,
    name: 'lonetree',
    forestSizeMax: 1 << 20,
    answerDeadlineMs: 5_000,
    downloadDeadlineMs: 5_000,
    tryCount: 3,
    retry: { firstMs: 100, maxMs: 150 },
    wait(milliseconds) {
      waits.push(milliseconds);
      return Promise.resolve();
    },
    random: () => 0.5,
    ...changes,
  });

/** How the work failed; fails when it did not. */
async function failureOf(work: Promise<unknown>): Promise<ModelFailure> {
  const error = await work.then(
    () => new Error('it did not fail'),
    (cause: unknown) => cause,
  );
  if (error instanceof ModelFailure) return error;
  throw error;
}
const unavailable = () => new Response('upstream is away', { status: 503 });

test('an alias names a version and its digest, and the version its bytes', async () => {
  const registry = registryWith();
  const found = await registry.find('champion', never);
  expect(found).toEqual({ version: '4', sha256: digest(artifact), createdAtMs: registeredAtMs });
  expect(Buffer.from(await registry.download(found, never)).equals(Buffer.from(artifact))).toBe(true);
  expect(mlflow.asked).toEqual([
    '/api/2.0/mlflow/registered-models/alias?name=lonetree&alias=champion',
    '/model-versions/get-artifact?name=lonetree&version=4&path=extra_files%2Fmodel.forest',
  ]);
});

test('a path and credentials of the address are used, and never told', async () => {
  const headers: (string | null)[] = [];
  const server = Bun.serve({
    port: 0,
    hostname: '127.0.0.1',
    fetch(request) {
      headers.push(request.headers.get('authorization'), new URL(request.url).pathname);
      return new Response('no', { status: 401 });
    },
  });
  const uri = `http://me:s3cr3t%40@127.0.0.1:${server.port}/mlflow/`;
  const failure = await failureOf(registryWith({ uri }).find('champion', never));
  await server.stop(true);
  expect(headers).toEqual([
    `Basic ${Buffer.from('me:s3cr3t@').toString('base64')}`,
    '/mlflow/api/2.0/mlflow/registered-models/alias',
  ]);
  expect(failure.reason).toBe('registry-error');
  expect(failure.message).not.toContain('s3cr3t');
});

test('a registry that answers 5xx for a while is asked again, with growing, scattered, bounded waits', async () => {
  let refusals = 3;
  mlflow.fault = () => (refusals-- > 0 ? unavailable() : undefined);
  const found = await registryWith({ tryCount: 4 }).find('champion', never);
  expect(found.version).toBe('4');
  expect(waits).toEqual([75, 112.5, 112.5]);
});

test('a registry that only answers 5xx is left after the last try', async () => {
  mlflow.fault = unavailable;
  const failure = await failureOf(registryWith().find('champion', never));
  expect(failure.reason).toBe('registry-error');
  expect(failure.message).toContain('503');
  expect(mlflow.asked).toHaveLength(3);
});

test('silence, and an answer that never ends, count as away after the deadline', async () => {
  const registry = registryWith({ tryCount: 2, answerDeadlineMs: 50, downloadDeadlineMs: 50 });
  const found = await registryWith().find('champion', never);
  mlflow.fault = () => new Promise(() => {});
  expect((await failureOf(registry.find('champion', never))).reason).toBe('registry-away');
  mlflow.fault = () =>
    new Response(
      new ReadableStream({
        async pull(controller) {
          controller.enqueue(new Uint8Array(1));
          await Bun.sleep(5);
        },
      }),
    );
  expect((await failureOf(registry.download(found, never))).message).toContain('within 50 ms');
  expect(mlflow.asked).toHaveLength(5);
});

test('a server that is not there counts as away', async () => {
  await mlflow.stop();
  const failure = await failureOf(registryWith().find('champion', never));
  expect(failure.reason).toBe('registry-away');
  expect(failure.message).toContain(new URL(mlflow.uri).host);
  expect(waits).toHaveLength(2);
});

test('who gives up ends a wait and a request, and no more is asked', async () => {
  const giveUp = new AbortController();
  mlflow.fault = () => new Promise(() => {});
  const asking = registryWith({ answerDeadlineMs: 60_000 }).find('champion', giveUp.signal);
  while (mlflow.asked.length === 0) await Bun.sleep(1);
  giveUp.abort(new ModelFailure('superseded', 'enough'));
  expect((await failureOf(asking)).reason).toBe('superseded');
  expect(mlflow.asked).toHaveLength(1);
});

test.each([
  ['alias', () => mlflow.aliases.clear()],
  ['version', () => mlflow.versions.clear()],
])('a missing %s is told apart, and not asked for again', async (_, remove) => {
  remove();
  const failure = await failureOf(registryWith().find('champion', never));
  expect(failure.reason).toBe('alias-missing');
  expect(failure.message).toContain('INVALID_PARAMETER_VALUE Registered model alias champion not found.');
  expect(mlflow.asked).toHaveLength(1);
});

test('a registered model that is not there counts as a missing alias', async () => {
  const failure = await failureOf(registryWith({ name: 'other' }).find('champion', never));
  expect(failure.reason).toBe('alias-missing');
});

test.each([
  ['a page', () => new Response('<html>log in</html>')],
  ['another JSON', () => Response.json({ model_version: { version: 4 } })],
  ['nothing', () => new Response('')],
  ['a refusal', () => Response.json({ error_code: 'PERMISSION_DENIED', message: 'no' }, { status: 403 })],
])('%s in place of a version is an error of the registry', async (_, answer) => {
  mlflow.fault = answer;
  expect((await failureOf(registryWith().find('champion', never))).reason).toBe('registry-error');
  expect(mlflow.asked).toHaveLength(1);
});

test.each([[null], [''], ['abc'], ['z'.repeat(64)]])(
  'a version with the digest %p is refused',
  async (sha256) => {
    mlflow.versions.set('4', { artifact, sha256 });
    expect((await failureOf(registryWith().find('champion', never))).reason).toBe('digest');
  },
);

test('an artifact with another digest than its tag is refused, with both', async () => {
  mlflow.versions.set('4', { artifact, sha256: 'a'.repeat(64) });
  const registry = registryWith();
  const failure = await failureOf(registry.download(await registry.find('champion', never), never));
  expect(failure.reason).toBe('digest');
  expect(failure.message).toContain('a'.repeat(64));
  expect(failure.message).toContain(digest(artifact));
});

test('an artifact that is not there is an error of the registry', async () => {
  const failure = await failureOf(registryWith().download({ version: '9', sha256: 'a'.repeat(64) }, never));
  expect(failure.reason).toBe('registry-error');
  expect(failure.message).toContain('404');
});

test('an artifact that is too large is left, whether its size is told before or not', async () => {
  const registry = registryWith({ forestSizeMax: artifact.length - 1 });
  const found = await registry.find('champion', never);
  expect((await failureOf(registry.download(found, never))).reason).toBe('too-large');
  mlflow.fault = () =>
    new Response(
      new ReadableStream({
        pull: (controller) => controller.enqueue(new Uint8Array(1_000)),
      }),
    );
  expect((await failureOf(registry.download(found, never))).reason).toBe('too-large');
});

test('bytes in chunks, of a size that nobody told, come whole', async () => {
  mlflow.fault = (path) =>
    path.includes('get-artifact')
      ? new Response(
          new ReadableStream({
            start(controller) {
              for (let at = 0; at < artifact.length; at += 999)
                controller.enqueue(artifact.slice(at, at + 999));
              controller.close();
            },
          }),
        )
      : undefined;
  const registry = registryWith({ forestSizeMax: artifact.length });
  const bytes = await registry.download(await registry.find('champion', never), never);
  expect(digest(bytes)).toBe(digest(artifact));
});
