// The Python side of the benchmark: one process that answers requests line by line, so that repetitions can interleave.
import { join } from 'node:path';
import { installLocked, toolsFolder } from '@lonetree/devstack';

export type PythonPeers = {
  prepare(options: {
    features: number;
    trees: number;
    samples: number;
    rows: number;
    directory: string;
    peers: readonly string[];
  }): Promise<{ versions: Record<string, string>; missing: Record<string, string> }>;
  /** Nanoseconds a row. */
  measure(name: string, batch: number, seconds: number): Promise<number>;
  /** The largest difference from scikit-learn's scores. */
  check(name: string): Promise<number>;
  stop(): void;
};

export async function startPythonPeers(): Promise<PythonPeers> {
  const folder = join(toolsFolder, 'bench');
  await installLocked({ what: 'the peers', lock: join(import.meta.dir, 'requirements.lock'), folder });
  const child = Bun.spawn(['python3', join(import.meta.dir, 'peers.py')], {
    // One core each: the ratio is per core.
    env: { ...process.env, PYTHONPATH: folder, OMP_NUM_THREADS: '1', OPENBLAS_NUM_THREADS: '1' },
    stdin: 'pipe',
    stdout: 'pipe',
    stderr: 'inherit',
  });
  const answers = lines(child.stdout);
  const ask = async <T>(request: object): Promise<T> => {
    await child.stdin.write(`${JSON.stringify(request)}\n`);
    await child.stdin.flush();
    const { value } = await answers.next();
    if (value === undefined) throw new Error(`peers.py ended with exit code ${await child.exited}`);
    return JSON.parse(value) as T;
  };
  return {
    prepare: (options) => ask({ prepare: options }),
    measure: async (name, batch, seconds) =>
      (await ask<{ nsPerRow: number }>({ measure: name, batch, seconds })).nsPerRow,
    check: async (name) => (await ask<{ difference: number }>({ check: name })).difference,
    stop: () => child.kill(),
  };
}

async function* lines(stream: ReadableStream<Uint8Array>): AsyncGenerator<string, undefined> {
  const decoder = new TextDecoder();
  let rest = '';
  for await (const chunk of stream) {
    const parts = (rest + decoder.decode(chunk, { stream: true })).split('\n');
    rest = parts.pop() ?? '';
    yield* parts;
  }
  return undefined;
}
