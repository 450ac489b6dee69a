// The walk: path-length sums of rows, scikit-learn's bits. Leaf values are added in tree order from 0.0, in float64.
//
// Leaves lead to themselves, so every row takes as many steps as the deepest leaf of the tree asks for and no branch
// depends on data. What limits a step is the wait for memory: twelve rows, or ten trees of one row, wait together (8 rows
// took 9 % longer, 20 gained nothing; 8 trees took 20 % longer). Written out, as the compiler unrolls no loops.
import { nodes, nodeValues, treeCount, treeDepths, treeStarts } from './forest';

/** Rows that go through a tree together. Memory for this many rows and sums beyond the last one must be there. */
export const rowsInFlight: u32 = 12;
/** Trees that one row goes through together. */
const treesInFlight: u32 = 10;
/** Rows that a tree scores before the next one: their values and sums stay in the first cache meanwhile. */
const rowsPerPass: u32 = 21 * rowsInFlight;
/** From this many rows on, twelve of which some do not count are faster than one by one. */
const rowsTogetherMin: u32 = 8;

/** The child that a row goes to. `row` is the row's address; a node names the feature by its byte offset. */
function step(node: u32, tree: usize, row: usize): u32 {
  const at = tree + ((<usize>node) << 3);
  return <u32>load<u16>(at, 6) + <u32>(load<f32>(row + <usize>load<u16>(at, 4)) > load<f32>(at));
}

/** Adds the value of the leaf `node` to the sum at `at`. */
function add(at: usize, values: usize, node: u32): void {
  store<f64>(at, load<f64>(at) + load<f64>(values + ((<usize>node) << 3)));
}

/** Sums of `count` rows of `rowSize` bytes from `rows` on into the float64s at `sums`. */
export function walk(rows: usize, rowSize: usize, count: u32, sums: usize): void {
  const rest = count % rowsInFlight;
  const together = rest < rowsTogetherMin ? count - rest : count - rest + rowsInFlight;
  walkRows(rows, rowSize, together, sums);
  for (let r = together; r < count; r++) {
    store<f64>(sums + ((<usize>r) << 3), walkOne(rows + <usize>r * rowSize));
  }
}

/** `count` is a multiple of `rowsInFlight`. */
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
      for (let r = pass; r < end; r += rowsInFlight) {
        const r0 = rows + <usize>r * rowSize;
        const r1 = r0 + rowSize;
        const r2 = r1 + rowSize;
        const r3 = r2 + rowSize;
        const r4 = r3 + rowSize;
        const r5 = r4 + rowSize;
        const r6 = r5 + rowSize;
        const r7 = r6 + rowSize;
        const r8 = r7 + rowSize;
        const r9 = r8 + rowSize;
        const r10 = r9 + rowSize;
        const r11 = r10 + rowSize;
        let n0: u32 = 0;
        let n1: u32 = 0;
        let n2: u32 = 0;
        let n3: u32 = 0;
        let n4: u32 = 0;
        let n5: u32 = 0;
        let n6: u32 = 0;
        let n7: u32 = 0;
        let n8: u32 = 0;
        let n9: u32 = 0;
        let n10: u32 = 0;
        let n11: u32 = 0;
        for (let d: u32 = 0; d < depth; d++) {
          n0 = step(n0, tree, r0);
          n1 = step(n1, tree, r1);
          n2 = step(n2, tree, r2);
          n3 = step(n3, tree, r3);
          n4 = step(n4, tree, r4);
          n5 = step(n5, tree, r5);
          n6 = step(n6, tree, r6);
          n7 = step(n7, tree, r7);
          n8 = step(n8, tree, r8);
          n9 = step(n9, tree, r9);
          n10 = step(n10, tree, r10);
          n11 = step(n11, tree, r11);
        }
        const s = sums + ((<usize>r) << 3);
        add(s, values, n0);
        add(s + 8, values, n1);
        add(s + 16, values, n2);
        add(s + 24, values, n3);
        add(s + 32, values, n4);
        add(s + 40, values, n5);
        add(s + 48, values, n6);
        add(s + 56, values, n7);
        add(s + 64, values, n8);
        add(s + 72, values, n9);
        add(s + 80, values, n10);
        add(s + 88, values, n11);
      }
    }
  }
}

/** One row, ten trees at a time, each as deep as the deepest of them. */
function walkOne(row: usize): f64 {
  const trees = treeCount;
  const allNodes = nodes;
  const allValues = nodeValues;
  const depths = treeDepths;
  let sum: f64 = 0;
  let t: u32 = 0;
  for (; t + treesInFlight <= trees; t += treesInFlight) {
    const starts = treeStarts + ((<usize>t) << 2);
    const t0 = (<usize>load<u32>(starts)) << 3;
    const t1 = (<usize>load<u32>(starts, 4)) << 3;
    const t2 = (<usize>load<u32>(starts, 8)) << 3;
    const t3 = (<usize>load<u32>(starts, 12)) << 3;
    const t4 = (<usize>load<u32>(starts, 16)) << 3;
    const t5 = (<usize>load<u32>(starts, 20)) << 3;
    const t6 = (<usize>load<u32>(starts, 24)) << 3;
    const t7 = (<usize>load<u32>(starts, 28)) << 3;
    const t8 = (<usize>load<u32>(starts, 32)) << 3;
    const t9 = (<usize>load<u32>(starts, 36)) << 3;
    let depth: u32 = 0;
    for (let i: u32 = 0; i < treesInFlight; i++) depth = max(depth, <u32>load<u8>(depths + t + i));
    let n0: u32 = 0;
    let n1: u32 = 0;
    let n2: u32 = 0;
    let n3: u32 = 0;
    let n4: u32 = 0;
    let n5: u32 = 0;
    let n6: u32 = 0;
    let n7: u32 = 0;
    let n8: u32 = 0;
    let n9: u32 = 0;
    for (let d: u32 = 0; d < depth; d++) {
      n0 = step(n0, allNodes + t0, row);
      n1 = step(n1, allNodes + t1, row);
      n2 = step(n2, allNodes + t2, row);
      n3 = step(n3, allNodes + t3, row);
      n4 = step(n4, allNodes + t4, row);
      n5 = step(n5, allNodes + t5, row);
      n6 = step(n6, allNodes + t6, row);
      n7 = step(n7, allNodes + t7, row);
      n8 = step(n8, allNodes + t8, row);
      n9 = step(n9, allNodes + t9, row);
    }
    sum += load<f64>(allValues + t0 + ((<usize>n0) << 3));
    sum += load<f64>(allValues + t1 + ((<usize>n1) << 3));
    sum += load<f64>(allValues + t2 + ((<usize>n2) << 3));
    sum += load<f64>(allValues + t3 + ((<usize>n3) << 3));
    sum += load<f64>(allValues + t4 + ((<usize>n4) << 3));
    sum += load<f64>(allValues + t5 + ((<usize>n5) << 3));
    sum += load<f64>(allValues + t6 + ((<usize>n6) << 3));
    sum += load<f64>(allValues + t7 + ((<usize>n7) << 3));
    sum += load<f64>(allValues + t8 + ((<usize>n8) << 3));
    sum += load<f64>(allValues + t9 + ((<usize>n9) << 3));
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
