// The same designs in C as peers: compiles walk.c and cells.c on the spot and scores the same forest and tables with them.
import { dlopen, FFIType, ptr } from 'bun:ffi';
import { join } from 'node:path';
import { depthOf, readTrees } from '../src/tables/trees.ts';

const infinity = Number.POSITIVE_INFINITY;

export type NativeEngine = {
  /** Copies row-major rows in; missing values are not supported here. */
  load(rows: Float32Array, rowCount: number): void;
  /** Path-length sums of the first `rowCount` rows that were loaded. */
  sum(rowCount: number): Float64Array;
};

export type NativeEngines = {
  readonly compiler: string;
  walk(forest: Uint8Array): NativeEngine;
  /** `tables` as the builder gives them. */
  cells(tables: ArrayBuffer, featureCount: number): NativeEngine;
};

/** Answers why not, where it cannot be compiled. The library is built in `folder`. */
export function compileNative(folder: string): NativeEngines | string {
  const compiler = Bun.which('gcc');
  if (compiler === null) return 'there is no gcc';
  const library = join(folder, 'engines.so');
  const sources = ['walk.c', 'cells.c'].map((name) => join(import.meta.dir, name));
  const flags = ['-O3', '-march=native', '-shared', '-fPIC', '-o', library, ...sources];
  const built = Bun.spawnSync([compiler, ...flags]);
  if (!built.success) return `gcc ${flags.join(' ')} failed: ${built.stderr.toString()}`;
  const { ptr: pointer, u32 } = FFIType;
  const { symbols } = dlopen(library, {
    walk: {
      args: [pointer, pointer, pointer, pointer, u32, pointer, u32, u32, pointer],
      returns: FFIType.void,
    },
    cells: { args: [pointer, pointer, u32, u32, pointer], returns: FFIType.void },
  });
  const version = Bun.spawnSync([compiler, '--version']).stdout.toString().split('\n')[0];
  return {
    compiler: `${version ?? 'gcc'} -O3 -march=native`,
    walk(forest) {
      const { nodes, leafValues, treeStarts, treeDepths, treeCount, featureCount } = layOut(forest);
      return engine(featureCount, (rows, count, sums) =>
        symbols.walk(
          ptr(nodes),
          ptr(leafValues),
          ptr(treeStarts),
          ptr(treeDepths),
          treeCount,
          ptr(rows),
          featureCount * 4,
          count,
          ptr(sums),
        ),
      );
    },
    cells(tables, featureCount) {
      const bytes = new Uint8Array(tables);
      return engine(featureCount, (rows, count, sums) =>
        symbols.cells(ptr(bytes), ptr(rows), featureCount, count, ptr(sums)),
      );
    },
  };
}

function engine(
  featureCount: number,
  score: (rows: Float32Array, count: number, sums: Float64Array) => void,
): NativeEngine {
  let rows = new Float32Array(0);
  return {
    load(source, rowCount) {
      rows = source.slice(0, rowCount * featureCount);
    },
    sum(rowCount) {
      const sums = new Float64Array(rowCount);
      score(rows, rowCount, sums);
      return sums;
    },
  };
}

/** The trees as walk.c reads them: features as byte offsets, leaves that no value is above. */
function layOut(forest: Uint8Array) {
  const trees = readTrees(forest);
  const nodes = new DataView(new ArrayBuffer(trees.lefts.length * 8));
  const treeDepths = Uint8Array.from({ length: trees.treeCount }, (_, tree) => depthOf(trees, tree));
  for (let tree = 0; tree < trees.treeCount; tree += 1) {
    const start = trees.starts[tree] as number;
    for (let node = start; node < (trees.starts[tree + 1] as number); node += 1) {
      const left = trees.lefts[node] as number;
      const isLeaf = left === node - start;
      nodes.setFloat32(node * 8, isLeaf ? infinity : (trees.thresholds[node] as number), true);
      nodes.setUint16(node * 8 + 4, isLeaf ? 0 : (trees.features[node] as number) * 4, true);
      nodes.setUint16(node * 8 + 6, left, true);
    }
  }
  return {
    nodes: new Uint8Array(nodes.buffer),
    leafValues: trees.values,
    treeStarts: trees.starts,
    treeDepths,
    treeCount: trees.treeCount,
    featureCount: trees.featureCount,
  };
}
