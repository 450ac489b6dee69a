// The model registry, MLflow, by REST. Only this file speaks to it: which version an alias names, and that version's forest.
import { z } from 'zod';
import { sha256Of } from './digest.ts';
import { ModelFailure } from './model-failure.ts';

export type RegistryOptions = {
  readonly uri: string;
  /** Of the registered model. */
  readonly name: string;
  /** A forest of more bytes is not downloaded. */
  readonly forestSizeMax: number;
  /** An answer that is not whole by then has failed. */
  readonly answerDeadlineMs: number;
  readonly downloadDeadlineMs: number;
  /** What fails for a reason that may pass is tried so often, with waits in between that grow to a bound. */
  readonly tryCount: number;
  readonly retry: { readonly firstMs: number; readonly maxMs: number };
  readonly wait: (milliseconds: number, signal: AbortSignal) => Promise<void>;
  /** At least 0 and less than 1: scorers that failed together do not come back together. */
  readonly random: () => number;
};

export type RegisteredVersion = {
  readonly version: string;
  /** Of the forest file, in hexadecimal. */
  readonly sha256: string;
  /** When it was registered; milliseconds since the Unix epoch. */
  readonly createdAtMs: number;
};

/** Every failure is a ModelFailure; what `signal` ends throws its reason. */
export type Registry = {
  /** The version that the alias names now. */
  find(alias: string, signal: AbortSignal): Promise<RegisteredVersion>;
  /** The version's forest file, which has the digest that was registered. */
  download(registered: Omit<RegisteredVersion, 'createdAtMs'>, signal: AbortSignal): Promise<Uint8Array>;
};

/** Where a version keeps its forest file. */
const artifactPath = 'extra_files/model.forest';
const digestTag = 'sha256';
/** Answers other than a forest are a few kilobytes. */
const answerSizeMax = 1 << 20;
const detailLengthMax = 300;

const aliasAnswer = z.object({
  model_version: z.object({
    version: z.string().min(1),
    creation_timestamp: z.coerce.number().nonnegative(),
    tags: z.array(z.object({ key: z.string(), value: z.string().default('') })).default([]),
  }),
});
const errorAnswer = z.object({ error_code: z.string(), message: z.string().default('') });

/** May be otherwise the next time. */
class Passing extends ModelFailure {}

export function createRegistry(options: RegistryOptions): Registry {
  const { name, retry } = options;
  const { address, headers } = readAddress(options.uri);

  async function withTries<T>(work: () => Promise<T>, signal: AbortSignal): Promise<T> {
    for (let tried = 1; ; tried += 1) {
      try {
        return await work();
      } catch (error) {
        signal.throwIfAborted();
        if (!(error instanceof Passing) || tried >= options.tryCount) throw error;
        const waitMs = Math.min(retry.firstMs * 2 ** (tried - 1), retry.maxMs);
        await options.wait(waitMs * (0.5 + options.random() / 2), signal);
      }
    }
  }

  /** The bytes of an answer of 200. */
  async function get(
    path: string,
    query: Readonly<Record<string, string>>,
    limits: { readonly deadlineMs: number; readonly sizeMax: number; readonly signal: AbortSignal },
  ): Promise<Uint8Array> {
    const url = new URL(address);
    url.pathname = `${url.pathname.replace(/\/+$/, '')}/${path}`;
    url.search = new URLSearchParams(query).toString();
    const deadline = AbortSignal.timeout(limits.deadlineMs);
    try {
      const signal = AbortSignal.any([limits.signal, deadline]);
      const response = await fetch(url, { headers, signal });
      const isGood = response.status === 200;
      const body = await readBody(response, isGood ? limits.sizeMax : answerSizeMax);
      if (!isGood) throw describeRefusal(response.status, body, url);
      return body;
    } catch (error) {
      if (error instanceof ModelFailure) throw error;
      if (deadline.aborted)
        throw new Passing('registry-away', `${url.host} did not answer within ${limits.deadlineMs} ms.`);
      const { code, message } = error as { readonly code?: string; readonly message: string };
      throw new Passing('registry-away', `${url.host} cannot be reached (${code ?? message}).`, {
        cause: error,
      });
    }
  }

  return {
    find: (alias, signal) =>
      withTries(async () => {
        const body = await get(
          'api/2.0/mlflow/registered-models/alias',
          { name, alias },
          { deadlineMs: options.answerDeadlineMs, sizeMax: answerSizeMax, signal },
        );
        const answer = aliasAnswer.safeParse(parseJson(body));
        if (!answer.success)
          throw new ModelFailure(
            'registry-error',
            `It answers no version for ${name}@${alias}: is it MLflow?`,
          );
        const { version, tags, creation_timestamp: createdAtMs } = answer.data.model_version;
        return { version, sha256: readDigest(tags, `${name} ${version}`), createdAtMs };
      }, signal),

    download: ({ version, sha256 }, signal) =>
      withTries(async () => {
        const bytes = await get(
          'model-versions/get-artifact',
          { name, version, path: artifactPath },
          { deadlineMs: options.downloadDeadlineMs, sizeMax: options.forestSizeMax, signal },
        );
        const found = await sha256Of(bytes);
        if (found === sha256) return bytes;
        throw new ModelFailure(
          'digest',
          `${artifactPath} of ${name} ${version} has the SHA-256 ${found}; registered was ${sha256}. Register it again.`,
        );
      }, signal),
  };
}

/** Credentials in the address go into a header, where they belong. */
function readAddress(uri: string): { address: URL; headers: Record<string, string> } {
  const address = new URL(uri);
  const { username, password } = address;
  if (username === '' && password === '') return { address, headers: {} };
  const credentials = `${decodeURIComponent(username)}:${decodeURIComponent(password)}`;
  address.username = '';
  address.password = '';
  return { address, headers: { authorization: `Basic ${Buffer.from(credentials).toString('base64')}` } };
}

function readDigest(tags: readonly { readonly key: string; readonly value: string }[], what: string): string {
  const value = tags.find(({ key }) => key === digestTag)?.value.toLowerCase();
  if (value !== undefined && /^[0-9a-f]{64}$/.test(value)) return value;
  const found = value === undefined ? 'no tag' : 'no SHA-256 in its tag';
  throw new ModelFailure('digest', `${what} has ${found} ${digestTag}: register it with lonetree_ml.`);
}

/** The body in one piece of memory, as long as it is not larger than allowed. */
async function readBody(response: Response, sizeMax: number): Promise<Uint8Array> {
  const declared = Number(response.headers.get('content-length') ?? 0);
  if (declared > sizeMax) throw tooLarge(sizeMax);
  let bytes = new Uint8Array(declared > 0 ? declared : 1 << 16);
  let size = 0;
  for await (const chunk of response.body ?? []) {
    if (size + chunk.length > sizeMax) throw tooLarge(sizeMax);
    if (size + chunk.length > bytes.length) {
      const larger = new Uint8Array(Math.min(Math.max(2 * bytes.length, size + chunk.length), sizeMax));
      larger.set(bytes.subarray(0, size));
      bytes = larger;
    }
    bytes.set(chunk, size);
    size += chunk.length;
  }
  // Less than declared is a connection that broke off, which the client does not always tell.
  if (size < declared)
    throw new Passing('registry-away', `The answer ended after ${size} of ${declared} bytes.`);
  return bytes.subarray(0, size);
}

const tooLarge = (sizeMax: number) =>
  new ModelFailure('too-large', `The answer has more than the ${sizeMax} bytes that are read.`);

function parseJson(body: Uint8Array): unknown {
  try {
    return JSON.parse(new TextDecoder().decode(body));
  } catch {
    return undefined; // Which no schema takes.
  }
}

/** MLflow says in JSON what is wrong; whatever stands before it may say something else. */
function describeRefusal(status: number, body: Uint8Array, { host, pathname }: URL): ModelFailure {
  const answer = errorAnswer.safeParse(parseJson(body)).data;
  const said =
    answer === undefined ? '' : `: ${answer.error_code} ${answer.message.slice(0, detailLengthMax)}`;
  const detail = `${host} answers ${status} to ${pathname}${said}`;
  if (status >= 500 || status === 429 || status === 408) return new Passing('registry-error', detail);
  const isMissing =
    pathname.endsWith('/alias') &&
    (answer?.error_code === 'RESOURCE_DOES_NOT_EXIST' || answer?.error_code === 'INVALID_PARAMETER_VALUE');
  return new ModelFailure(isMissing ? 'alias-missing' : 'registry-error', detail);
}
