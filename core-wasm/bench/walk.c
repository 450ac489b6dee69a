// The walk engine's design in C, as a yardstick for the WebAssembly one: what does this machine give away to a native build?
// Nodes of 8 bytes {f32 threshold, u16 byte offset into the row, u16 left child}, siblings adjacent, leaves that lead to
// themselves, 12 rows in flight; rows that are left over one by one, eight trees in flight. Compiled where it is measured:
// gcc -O3 -march=native.
#include <stdint.h>
#include <string.h>

typedef struct {
  float threshold;
  uint16_t featureOffset;
  uint16_t left;
} Node;

enum { rowsInFlight = 12, rowsPerPass = 504, treesInFlight = 8 };

static inline uint32_t step(const Node *tree, uint32_t index, const char *row) {
  const Node node = tree[index];
  float value;
  memcpy(&value, row + node.featureOffset, sizeof value);
  return node.left + (value > node.threshold);
}

// Leaves lead to themselves: a tree may be walked as deep as the deepest of those beside it.
static double walkRow(const Node *nodes, const double *leafValues, const uint32_t *treeStarts, const uint8_t *treeDepths,
                      uint32_t treeCount, const char *row) {
  double sum = 0;
  for (uint32_t first = 0; first < treeCount; first += treesInFlight) {
    const uint32_t count = treeCount - first < treesInFlight ? treeCount - first : treesInFlight;
    const uint32_t *starts = treeStarts + first;
    uint32_t at[treesInFlight] = {0};
    uint32_t depth = 0;
    for (uint32_t t = 0; t < count; t++)
      if (treeDepths[first + t] > depth) depth = treeDepths[first + t];
    if (count == treesInFlight)
      for (uint32_t d = 0; d < depth; d++)
        for (int t = 0; t < treesInFlight; t++) at[t] = step(nodes + starts[t], at[t], row);
    else
      for (uint32_t d = 0; d < depth; d++)
        for (uint32_t t = 0; t < count; t++) at[t] = step(nodes + starts[t], at[t], row);
    for (uint32_t t = 0; t < count; t++) sum += leafValues[starts[t] + at[t]];
  }
  return sum;
}

// rowSize in bytes; sums has one float64 per row.
void walk(const Node *nodes, const double *leafValues, const uint32_t *treeStarts, const uint8_t *treeDepths,
          uint32_t treeCount, const char *rows, uint32_t rowSize, uint32_t rowCount, double *sums) {
  const uint32_t together = rowCount - rowCount % rowsInFlight;
  for (uint32_t r = together; r < rowCount; r++)
    sums[r] = walkRow(nodes, leafValues, treeStarts, treeDepths, treeCount, rows + (size_t)r * rowSize);
  memset(sums, 0, together * sizeof *sums);
  for (uint32_t pass = 0; pass < together; pass += rowsPerPass) {
    const uint32_t end = pass + rowsPerPass < together ? pass + rowsPerPass : together;
    for (uint32_t t = 0; t < treeCount; t++) {
      const Node *tree = nodes + treeStarts[t];
      const double *values = leafValues + treeStarts[t];
      const uint32_t depth = treeDepths[t];
      for (uint32_t r = pass; r < end; r += rowsInFlight) {
        const char *row = rows + (size_t)r * rowSize;
        uint32_t at[rowsInFlight] = {0};
        for (uint32_t d = 0; d < depth; d++)
          for (int i = 0; i < rowsInFlight; i++) at[i] = step(tree, at[i], row + (size_t)i * rowSize);
        for (int i = 0; i < rowsInFlight; i++) sums[r + i] += values[at[i]];
      }
    }
  }
}
