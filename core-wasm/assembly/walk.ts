// The walk: path-length sums of rows, scikit-learn's bits. Leaf values are added in tree order from 0.0, in float64.
//
// Leaves lead to themselves, so every row takes as many steps as the deepest leaf of the tree asks for and no branch
// depends on data. What limits a step is the wait for memory: eight rows, or eight trees of one row, wait together.
import { nodes, nodeValues, treeCount, treeDepths, treeStarts } from './forest';

/** Rows that a tree scores before the next one: their sums and values stay in the first cache meanwhile. */
const rowsPerPass: u32 = 256;
const lanes: u32 = 8;

/** The child that a row goes to. `row` is the row's address; a node names the feature by its byte offset. */
function step(node: u32, tree: usize, row: usize): u32 {
  const at = tree + ((<usize>node) << 3);
  return <u32>load<u16>(at, 6) + <u32>(load<f32>(row + <usize>load<u16>(at, 4)) > load<f32>(at));
}

/** Sums of `count` rows of `rowSize` bytes from `rows` on into the float64s at `sums`. */
export function walk(rows: usize, rowSize: usize, count: u32, sums: usize): void {
  const eights = count & ~(lanes - 1);
  walkRows(rows, rowSize, eights, sums);
  for (let r = eights; r < count; r++) {
    store<f64>(sums + ((<usize>r) << 3), walkOne(rows + <usize>r * rowSize));
  }
}

/** `count` is a multiple of 8. */
function walkRows(rows: usize, rowSize: usize, count: u32, sums: usize): void {
  const trees = treeCount;
  const starts = treeStarts;
  const depths = treeDepths;
  const allNodes = nodes;
  const allValues = nodeValues;
  memory.fill(sums, 0, (<usize>count) << 3);
  for (let pass: u32 = 0; pass < count; pass += rowsPerPass) {
    const end = min(pass + rowsPerPass, count);
    for (let t: u32 = 0; t < trees; t++) {
      const start = (<usize>load<u32>(starts + ((<usize>t) << 2))) << 3;
      const tree = allNodes + start;
      const values = allValues + start;
      const depth = <u32>load<u8>(depths + t);
      for (let r = pass; r < end; r += lanes) {
        const r0 = rows + <usize>r * rowSize;
        const r1 = r0 + rowSize;
        const r2 = r1 + rowSize;
        const r3 = r2 + rowSize;
        const r4 = r3 + rowSize;
        const r5 = r4 + rowSize;
        const r6 = r5 + rowSize;
        const r7 = r6 + rowSize;
        let n0: u32 = 0;
        let n1: u32 = 0;
        let n2: u32 = 0;
        let n3: u32 = 0;
        let n4: u32 = 0;
        let n5: u32 = 0;
        let n6: u32 = 0;
        let n7: u32 = 0;
        for (let d: u32 = 0; d < depth; d++) {
          n0 = step(n0, tree, r0);
          n1 = step(n1, tree, r1);
          n2 = step(n2, tree, r2);
          n3 = step(n3, tree, r3);
          n4 = step(n4, tree, r4);
          n5 = step(n5, tree, r5);
          n6 = step(n6, tree, r6);
          n7 = step(n7, tree, r7);
        }
        const s = sums + ((<usize>r) << 3);
        store<f64>(s, load<f64>(s) + load<f64>(values + ((<usize>n0) << 3)));
        store<f64>(s, load<f64>(s, 8) + load<f64>(values + ((<usize>n1) << 3)), 8);
        store<f64>(s, load<f64>(s, 16) + load<f64>(values + ((<usize>n2) << 3)), 16);
        store<f64>(s, load<f64>(s, 24) + load<f64>(values + ((<usize>n3) << 3)), 24);
        store<f64>(s, load<f64>(s, 32) + load<f64>(values + ((<usize>n4) << 3)), 32);
        store<f64>(s, load<f64>(s, 40) + load<f64>(values + ((<usize>n5) << 3)), 40);
        store<f64>(s, load<f64>(s, 48) + load<f64>(values + ((<usize>n6) << 3)), 48);
        store<f64>(s, load<f64>(s, 56) + load<f64>(values + ((<usize>n7) << 3)), 56);
      }
    }
  }
}

/** One row, eight trees at a time, each as deep as the deepest of them. */
function walkOne(row: usize): f64 {
  const trees = treeCount;
  const allNodes = nodes;
  const allValues = nodeValues;
  const depths = treeDepths;
  let sum: f64 = 0;
  let t: u32 = 0;
  for (; t + lanes <= trees; t += lanes) {
    const starts = treeStarts + ((<usize>t) << 2);
    const t0 = (<usize>load<u32>(starts)) << 3;
    const t1 = (<usize>load<u32>(starts, 4)) << 3;
    const t2 = (<usize>load<u32>(starts, 8)) << 3;
    const t3 = (<usize>load<u32>(starts, 12)) << 3;
    const t4 = (<usize>load<u32>(starts, 16)) << 3;
    const t5 = (<usize>load<u32>(starts, 20)) << 3;
    const t6 = (<usize>load<u32>(starts, 24)) << 3;
    const t7 = (<usize>load<u32>(starts, 28)) << 3;
    let depth: u32 = 0;
    for (let i: u32 = 0; i < lanes; i++) depth = max(depth, <u32>load<u8>(depths + t + i));
    let n0: u32 = 0;
    let n1: u32 = 0;
    let n2: u32 = 0;
    let n3: u32 = 0;
    let n4: u32 = 0;
    let n5: u32 = 0;
    let n6: u32 = 0;
    let n7: u32 = 0;
    for (let d: u32 = 0; d < depth; d++) {
      n0 = step(n0, allNodes + t0, row);
      n1 = step(n1, allNodes + t1, row);
      n2 = step(n2, allNodes + t2, row);
      n3 = step(n3, allNodes + t3, row);
      n4 = step(n4, allNodes + t4, row);
      n5 = step(n5, allNodes + t5, row);
      n6 = step(n6, allNodes + t6, row);
      n7 = step(n7, allNodes + t7, row);
    }
    sum += load<f64>(allValues + t0 + ((<usize>n0) << 3));
    sum += load<f64>(allValues + t1 + ((<usize>n1) << 3));
    sum += load<f64>(allValues + t2 + ((<usize>n2) << 3));
    sum += load<f64>(allValues + t3 + ((<usize>n3) << 3));
    sum += load<f64>(allValues + t4 + ((<usize>n4) << 3));
    sum += load<f64>(allValues + t5 + ((<usize>n5) << 3));
    sum += load<f64>(allValues + t6 + ((<usize>n6) << 3));
    sum += load<f64>(allValues + t7 + ((<usize>n7) << 3));
  }
  for (; t < trees; t++) {
    const start = (<usize>load<u32>(treeStarts + ((<usize>t) << 2))) << 3;
    const depth = <u32>load<u8>(depths + t);
    let node: u32 = 0;
    for (let d: u32 = 0; d < depth; d++) node = step(node, allNodes + start, row);
    sum += load<f64>(allValues + start + ((<usize>node) << 3));
  }
  return sum;
}
