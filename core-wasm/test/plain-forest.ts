// An Isolation Forest without any cleverness: what the WebAssembly walk has to agree with, bit for bit.

/** `left` is the node's own index at a leaf. The right child follows the left one. */
export type PlainNode = {
  readonly threshold: number;
  readonly feature: number;
  readonly isMissingRight: boolean;
  readonly left: number;
  readonly value: number;
};
export type PlainTree = readonly PlainNode[];

/** A missing value as the engine sees it: not finite, or too large for float32. */
export const isMissing = (value: number) => !(Math.abs(Math.fround(value)) < 3.4e38);

export function pathLengthSum(trees: readonly PlainTree[], row: ArrayLike<number>): number {
  let sum = 0;
  for (const tree of trees) {
    let index = 0;
    let node = tree[0] as PlainNode;
    while (node.left !== index) {
      const value = Math.fround(row[node.feature] as number);
      const isRight = isMissing(value) ? node.isMissingRight : value > node.threshold;
      index = node.left + Number(isRight);
      node = tree[index] as PlainNode;
    }
    sum += node.value;
  }
  return sum;
}
