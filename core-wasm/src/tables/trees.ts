// The trees of a forest file as arrays, one entry a node: what the cells tables are made from.
import { readSections } from '../model.ts';

export type Trees = {
  readonly featureCount: number;
  readonly treeCount: number;
  /** Index of each tree's first node, and of the end. */
  readonly starts: Uint32Array;
  /** A row goes left when its value is ≤ the threshold. */
  readonly thresholds: Float32Array;
  readonly features: Uint16Array;
  /** 1 where a missing value goes right. */
  readonly missingRights: Uint8Array;
  /** Index of the left child within its tree, the right one follows; a leaf leads to itself. Children follow parents. */
  readonly lefts: Uint16Array;
  /** Of leaves: what they add to the path-length sum. */
  readonly values: Float64Array;
};

const missingGoesRight = 0x8000;

/** Reads a file that the module has checked (docs/MODEL_FORMAT.md). */
export function readTrees(forest: Uint8Array): Trees {
  const header = new DataView(forest.buffer, forest.byteOffset, forest.byteLength);
  const sections = readSections(forest, header);
  const copy = (id: string) => (sections.get(id) as Uint8Array).slice().buffer;
  const nodes = new DataView(copy('NODE'));
  const nodeCount = nodes.byteLength / 8;
  const thresholds = new Float32Array(nodeCount);
  const features = new Uint16Array(nodeCount);
  const missingRights = new Uint8Array(nodeCount);
  const lefts = new Uint16Array(nodeCount);
  for (let node = 0; node < nodeCount; node += 1) {
    const feature = nodes.getUint16(node * 8 + 4, true);
    thresholds[node] = nodes.getFloat32(node * 8, true);
    features[node] = feature & ~missingGoesRight;
    missingRights[node] = feature & missingGoesRight ? 1 : 0;
    lefts[node] = nodes.getUint16(node * 8 + 6, true);
  }
  return {
    featureCount: header.getUint32(24, true),
    treeCount: header.getUint32(28, true),
    starts: new Uint32Array(copy('TREE')),
    thresholds,
    features,
    missingRights,
    lefts,
    values: new Float64Array(copy('VALU')),
  };
}

/** Edges to the deepest leaf. */
export function depthOf(trees: Trees, tree: number): number {
  const start = trees.starts[tree] as number;
  const count = (trees.starts[tree + 1] as number) - start;
  const depths = new Uint8Array(count);
  for (let node = 0; node < count; node += 1) {
    const left = trees.lefts[start + node] as number;
    if (left !== node) depths[left] = depths[left + 1] = (depths[node] as number) + 1;
  }
  return depths.reduce((deepest, depth) => Math.max(deepest, depth), 0);
}

/** What its leaves add, each value once. */
export function leafValuesOf(trees: Trees, tree: number): Set<number> {
  const start = trees.starts[tree] as number;
  const values = new Set<number>();
  for (let node = start; node < (trees.starts[tree + 1] as number); node += 1)
    if (trees.lefts[node] === node - start) values.add(trees.values[node] as number);
  return values;
}
