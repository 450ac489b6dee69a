// The C walk as a peer: compiles walk.c on the spot and scores the same forest file's nodes with it.
import { dlopen, FFIType, ptr } from 'bun:ffi';
import { join } from 'node:path';

const lanes = 12;

export type NativeWalk = {
  /** Copies row-major rows of `featureCount` floats in; missing values are not supported here. */
  load(rows: Float32Array, rowCount: number): void;
  /** Path-length sums of the first `rowCount` rows that were loaded. */
  sum(rowCount: number): Float64Array;
  readonly compiler: string;
};

/** Answers null where there is no C compiler. The library is built in `folder`. */
export function compileNativeWalk(
  forest: Uint8Array,
  featureCount: number,
  folder: string,
): NativeWalk | null {
  const library = join(folder, 'walk.so');
  const source = join(import.meta.dir, 'walk.c');
  const flags = ['-O3', '-march=native', '-shared', '-fPIC', '-o', library, source];
  const compiler = Bun.which('gcc');
  if (compiler === null) return null;
  const built = Bun.spawnSync([compiler, ...flags]);
  if (!built.success) throw new Error(`gcc ${flags.join(' ')} failed: ${built.stderr.toString()}`);
  const { symbols } = dlopen(library, {
    walk: {
      args: [
        FFIType.ptr,
        FFIType.ptr,
        FFIType.ptr,
        FFIType.ptr,
        FFIType.u32,
        FFIType.ptr,
        FFIType.u32,
        FFIType.u32,
        FFIType.ptr,
      ],
      returns: FFIType.void,
    },
  });
  const { nodes, leafValues, treeStarts, treeDepths, treeCount } = readTrees(forest);
  let rows = new Float32Array(0);
  return {
    compiler: Bun.spawnSync([compiler, '--version']).stdout.toString().split('\n')[0] ?? 'gcc',
    load(source_, rowCount) {
      rows = new Float32Array(Math.ceil(rowCount / lanes) * lanes * featureCount);
      rows.set(source_.subarray(0, rowCount * featureCount));
    },
    sum(rowCount) {
      const padded = Math.ceil(rowCount / lanes) * lanes;
      const sums = new Float64Array(padded);
      symbols.walk(
        ptr(nodes),
        ptr(leafValues),
        ptr(treeStarts),
        ptr(treeDepths),
        treeCount,
        ptr(rows),
        featureCount * 4,
        padded,
        ptr(sums),
      );
      return sums.subarray(0, rowCount);
    },
  };
}

/** The trees of a forest file (docs/MODEL_FORMAT.md), with feature indices turned into byte offsets. */
function readTrees(forest: Uint8Array) {
  const view = new DataView(forest.buffer, forest.byteOffset, forest.byteLength);
  const sections = new Map<string, { offset: number; length: number }>();
  for (let index = 0; index < view.getUint32(20, true); index += 1) {
    const entry = 96 + 16 * index;
    const id = String.fromCharCode(...forest.subarray(entry, entry + 4));
    sections.set(id, { offset: view.getUint32(entry + 4, true), length: view.getUint32(entry + 8, true) });
  }
  const section = (id: string) => {
    const found = sections.get(id);
    if (found === undefined) throw new Error(`the forest file has no section ${id}`);
    return forest.slice(found.offset, found.offset + found.length);
  };
  const nodes = section('NODE');
  const nodeView = new DataView(nodes.buffer);
  const treeStarts = new Uint32Array(section('TREE').buffer);
  const treeCount = treeStarts.length - 1;
  const treeDepths = new Uint8Array(treeCount);
  for (let tree = 0; tree < treeCount; tree += 1) {
    const start = treeStarts[tree] as number;
    const count = (treeStarts[tree + 1] as number) - start;
    const depths = new Uint8Array(count);
    for (let node = 0; node < count; node += 1) {
      const at = (start + node) * 8;
      const left = nodeView.getUint16(at + 6, true);
      if (left === node) {
        nodeView.setFloat32(at, Number.POSITIVE_INFINITY, true);
        treeDepths[tree] = Math.max(treeDepths[tree] as number, depths[node] as number);
        continue;
      }
      nodeView.setUint16(at + 4, (nodeView.getUint16(at + 4, true) & 0x7fff) * 4, true);
      depths[left] = depths[left + 1] = (depths[node] as number) + 1;
    }
  }
  return { nodes, leafValues: new Float64Array(section('VALU').buffer), treeStarts, treeDepths, treeCount };
}
