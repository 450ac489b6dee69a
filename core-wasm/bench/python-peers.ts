// The Python side of the benchmark: one process that answers requests line by line, so that repetitions can interleave.
import { join } from 'node:path';
import { ensurePython, installLocked, pythonProgram, toolsFolder } from '@lonetree/devstack';

/** Peers that need more than the project's own Python environment has. */
const packagedNames = ['onnxruntime-single', 'onnxruntime-skl2onnx', 'onnxruntime-web', 'tl2cgen'];

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

/** Python with the peers' packages when any of the names needs them and they can be had; otherwise ml/.venv's. */
export async function startPythonPeers(names: readonly string[]): Promise<PythonPeers> {
  const folder = join(toolsFolder, 'bench');
  const hasPackages = names.some((name) => packagedNames.includes(name)) && (await installPackages(folder));
  if (!hasPackages) await ensurePython();
  const child = Bun.spawn([hasPackages ? 'python3' : pythonProgram, join(import.meta.dir, 'peers.py')], {
    // One core each: the ratio is per core.
    env: {
      ...process.env,
      ...(hasPackages ? { PYTHONPATH: folder } : {}),
      OMP_NUM_THREADS: '1',
      OPENBLAS_NUM_THREADS: '1',
    },
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

/** Without them the peers are missing, and peers.py says which. */
async function installPackages(folder: string): Promise<boolean> {
  try {
    await installLocked({ what: 'the peers', lock: join(import.meta.dir, 'requirements.lock'), folder });
    return true;
  } catch (error) {
    console.error(`The peers' Python packages cannot be installed: ${String(error)}`);
    return false;
  }
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
