// Where the model that should score comes from: the version that an alias of the registry names, or a file.
import { createHash } from 'node:crypto';
import { stat } from 'node:fs/promises';
import { sha256Of } from './digest.ts';
import { ModelFailure } from './model-failure.ts';
import type { Registry } from './registry.ts';

/** A model is known by both: the same bytes may be registered twice. The version of a file is empty. */
export type Identity = { readonly version: string; readonly sha256: string };

export const isSame = (a: Identity, b: Identity): boolean => a.version === b.version && a.sha256 === b.sha256;

/** A model that could be used, with the way to its bytes. */
export type Offer = Identity & {
  readonly source: 'registry' | 'cache' | 'file';
  /** When it was registered, or its file written; milliseconds since the Unix epoch. */
  readonly createdAtMs: number;
  read(signal: AbortSignal): Promise<Uint8Array>;
};

/** Finds the model that should be used now. Throws ModelFailure. */
export type ModelSource = { find(signal: AbortSignal): Promise<Offer> };

export function createRegistrySource(registry: Registry, alias: string): ModelSource {
  return {
    async find(found) {
      const registered = await registry.find(alias, found);
      return {
        ...registered,
        source: 'registry',
        read: (signal) => registry.download(registered, signal),
      };
    },
  };
}

/** The file is read again only when its size or time of change is another one. */
export function createFileSource(path: string, sizeMax: number): ModelSource {
  let known = { mark: '', sha256: '' };
  return {
    async find() {
      const { mark, mtimeMs } = await markOf(path, sizeMax);
      if (mark !== known.mark) known = { mark, sha256: await digestFile(path) };
      return {
        version: '',
        sha256: known.sha256,
        source: 'file',
        createdAtMs: mtimeMs,
        read: () => readForest(path, known.sha256),
      };
    },
  };
}

/** The file's bytes, which have that digest. */
export async function readForest(path: string, sha256: string): Promise<Uint8Array> {
  const bytes = await Bun.file(path).bytes().catch(unreadable(path));
  const found = await sha256Of(bytes);
  if (found === sha256) return bytes;
  throw new ModelFailure('digest', `${path} has the SHA-256 ${found}, not ${sha256}.`);
}

async function markOf(path: string, sizeMax: number): Promise<{ mark: string; mtimeMs: number }> {
  const { size, mtimeMs, ino } = await stat(path).catch(unreadable(path));
  if (size > sizeMax)
    throw new ModelFailure('too-large', `${path} has ${size} bytes; the most is ${sizeMax}.`);
  return { mark: `${size} ${mtimeMs} ${ino}`, mtimeMs };
}

async function digestFile(path: string): Promise<string> {
  const hash = createHash('sha256');
  try {
    for await (const chunk of Bun.file(path).stream()) hash.update(chunk);
  } catch (error) {
    unreadable(path)(error as Error);
  }
  return hash.digest('hex');
}

function unreadable(path: string) {
  return (error: Error): never => {
    throw new ModelFailure('file', `The model ${path} cannot be read (${error.message}).`, { cause: error });
  };
}
