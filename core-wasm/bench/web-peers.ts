// Peers from npm, installed on demand beside the product: onnxruntime in WebAssembly, and protobufjs.
import { copyFileSync, mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { toolsFolder } from '@lonetree/devstack';
import manifest from './package.json';

export type OnnxRun = (rows: Float32Array, rowCount: number) => Promise<Float32Array>;

/** What this benchmark uses of onnxruntime-web. */
type Onnx = {
  readonly env: { readonly wasm: { numThreads: number } };
  readonly InferenceSession: {
    create(
      model: Uint8Array,
      options: object,
    ): Promise<{ run(feeds: object): Promise<Record<string, { readonly data: Float32Array }>> }>;
  };
  readonly Tensor: new (type: 'float32', data: Float32Array, shape: readonly number[]) => object;
};

/** What this benchmark uses of protobufjs. */
type Protobufjs = {
  parse(
    source: string,
    options: object,
  ): {
    readonly root: { lookupType(name: string): { decode(bytes: Uint8Array): object } };
  };
};

/** Loads a module of the packages; null when they were not asked for or cannot be had. */
export type LoadWeb = ((file: string) => Promise<unknown>) | null;
/** As bun.lock has them. */
export const webVersions = manifest.dependencies;
export const webMissing = 'its npm packages could not be installed';

/** Installs what package.json and bun.lock beside this file name, when a peer needs it. */
export async function installWebPeers(isWanted: boolean): Promise<LoadWeb> {
  if (!isWanted) return null;
  const folder = join(toolsFolder, 'bench-npm');
  mkdirSync(folder, { recursive: true });
  for (const name of ['package.json', 'bun.lock'])
    copyFileSync(join(import.meta.dir, name), join(folder, name));
  const child = Bun.spawn([process.execPath, 'install', '--frozen-lockfile', '--ignore-scripts'], {
    cwd: folder,
    stdout: 'ignore',
    stderr: 'pipe',
  });
  const [output, exitCode] = await Promise.all([new Response(child.stderr).text(), child.exited]);
  if (exitCode !== 0) {
    console.error(`The peers' npm packages cannot be installed:\n${output}`);
    return null;
  }
  return (file) => import(join(folder, 'node_modules', file));
}

/** The single ensemble of peers.py in WebAssembly, one thread; rows in, path-length sums in float32 out. */
export async function startOnnxWeb(
  load: (file: string) => Promise<unknown>,
  model: Uint8Array,
  featureCount: number,
): Promise<OnnxRun> {
  const onnx = (await load('onnxruntime-web/dist/ort.node.min.mjs')) as Onnx;
  onnx.env.wasm.numThreads = 1;
  const session = await onnx.InferenceSession.create(model, { executionProviders: ['wasm'] });
  return async (rows, rowCount) => {
    const { sums } = await session.run({
      rows: new onnx.Tensor('float32', rows, [rowCount, featureCount]),
    });
    return (sums as { readonly data: Float32Array }).data;
  };
}

/** protobufjs's decoder of a message type of ours. */
export async function loadProtobufjs(
  load: (file: string) => Promise<unknown>,
  source: string,
  type: string,
): Promise<(bytes: Uint8Array) => object> {
  const module = (await load('protobufjs/index.js')) as { readonly default: Protobufjs };
  const decoder = module.default.parse(source, { keepCase: true }).root.lookupType(type);
  return (bytes) => decoder.decode(bytes);
}
