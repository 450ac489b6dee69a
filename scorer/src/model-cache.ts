// The last good model on disk, for starts without a registry, and the version that is held back after a rollback.
import { randomUUID } from 'node:crypto';
import { mkdir, readdir, readFile, rename, rm, stat, utimes, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { z } from 'zod';
import { ModelFailure } from './model-failure.ts';
import { type Identity, type Offer, readForest } from './model-source.ts';

/** Scorers that share a folder each keep theirs: files of others are left until there are more than this. */
const forestCountMax = 4;

const identity = z.object({ version: z.string(), sha256: z.string().regex(/^[0-9a-f]{64}$/) });
const dated = identity.extend({ createdAtMs: z.number() });
const stateSchema = z.object({
  /** The name that the model is registered by: another name's is not used. */
  name: z.string(),
  lastGood: dated,
  heldBack: identity.nullable(),
});
type State = z.infer<typeof stateSchema>;

export type ModelCache = {
  /** What an earlier process left. A file that cannot be read counts as none: there is the registry, or MODEL_FILE. */
  load(): Promise<{ readonly lastGood: Offer | null; readonly heldBack: Identity | null }>;
  /** Keeps both facts. `bytes` may be null when the file was kept before. Throws ModelFailure. */
  keep(
    facts: { readonly lastGood: z.infer<typeof dated>; readonly heldBack: Identity | null },
    bytes: Uint8Array | null,
  ): Promise<void>;
};

export function createModelCache(folder: string, name: string): ModelCache {
  const stateFile = join(folder, 'champion.json');
  const forestFile = (sha256: string) => join(folder, `${sha256}.forest`);

  /** Whole or not at all: a process may be killed, another may write the same file. */
  async function writeWhole(path: string, content: string | Uint8Array): Promise<void> {
    const draft = `${path}.${randomUUID()}.part`; // In containers every process has the same id.
    await writeFile(draft, content, { flush: true });
    await rename(draft, path);
  }

  async function keepForest(sha256: string, bytes: Uint8Array | null): Promise<void> {
    const file = forestFile(sha256);
    const now = new Date();
    const isThere = await utimes(file, now, now).then(
      () => true,
      () => false,
    );
    if (isThere) return;
    if (bytes === null) throw new Error(`${file} is gone`);
    await writeWhole(file, bytes);
  }

  async function removeOldest(): Promise<void> {
    // Also what a process had begun to write when it was killed.
    const forests = (await readdir(folder)).filter((file) => /\.(forest|part)$/.test(file));
    const withTimes = await Promise.all(
      forests.map(async (file) => ({ file, timeMs: (await stat(join(folder, file))).mtimeMs })),
    );
    const old = withTimes.sort((a, b) => b.timeMs - a.timeMs).slice(forestCountMax);
    for (const { file } of old) await rm(join(folder, file), { force: true });
  }

  return {
    async load() {
      const text = await readFile(stateFile, 'utf8').catch(() => '');
      const state = parseState(text);
      if (state === null || state.name !== name) return { lastGood: null, heldBack: null };
      const { lastGood, heldBack } = state;
      const read = () => readForest(forestFile(lastGood.sha256), lastGood.sha256);
      return { lastGood: { ...lastGood, source: 'cache', read }, heldBack };
    },

    async keep({ lastGood, heldBack }, bytes) {
      try {
        await mkdir(folder, { recursive: true });
        await keepForest(lastGood.sha256, bytes);
        const pick = ({ version, sha256 }: Identity) => ({ version, sha256 });
        const state: State = {
          name,
          lastGood: { ...pick(lastGood), createdAtMs: lastGood.createdAtMs },
          heldBack: heldBack === null ? null : pick(heldBack),
        };
        await writeWhole(stateFile, `${JSON.stringify(state)}\n`);
        await removeOldest();
      } catch (error) {
        const detail = `The last good model cannot be kept in ${folder} (${(error as Error).message}): a start without the registry will use MODEL_FILE.`;
        throw new ModelFailure('cache', detail, { cause: error });
      }
    },
  };
}

function parseState(text: string): State | null {
  try {
    return stateSchema.parse(JSON.parse(text));
  } catch {
    return null; // Absent, or cut off by a full disk.
  }
}
