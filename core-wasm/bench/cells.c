// The cells engine's design in C, on the same tables (src/tables/layout.ts), as a yardstick for the WebAssembly one. Plain
// loops: the compiler makes of them what this machine has. Compiled where it is measured: gcc -O3 -march=native.
#include <stdint.h>
#include <string.h>

enum { rowsPerBlock = 1024, lanesMax = 4, columnCount = 64, featureCountMax = 24 };

typedef struct {
  uint32_t groups, groupCount, thresholds, thresholdsSize, guesses, guessesSize, features, bucketCount, intervalSize, unused[3];
} Chunk;
typedef struct {
  float low, scale;
  uint32_t thresholdCount, first;
} Feature;
typedef struct {
  uint32_t treeCount, map, intervals, leafValues, leafValuesSize, tops, entries, entriesSize;
} Group;

static uint32_t places[rowsPerBlock * featureCountMax];

static void findPlaces(const uint8_t *base, const Chunk *chunk, const float *rows, uint32_t featureCount, uint32_t count) {
  for (uint32_t f = 0; f < featureCount; f++) {
    const Feature *feature = (const Feature *)(base + chunk->features) + f;
    const float *thresholds = (const float *)(base + chunk->thresholds + (size_t)f * chunk->thresholdsSize);
    const uint16_t *guesses = (const uint16_t *)(base + chunk->guesses + (size_t)f * chunk->guessesSize);
    for (uint32_t r = 0; r < count; r++) {
      const float value = rows[r * featureCount + f];
      const float scaled = (value - feature->low) * feature->scale;
      const uint32_t last = chunk->bucketCount - 1;
      const uint32_t bucket = !(scaled > 0) ? 0 : scaled >= (float)last ? last : (uint32_t)scaled;
      uint32_t interval = guesses[bucket];
      while (thresholds[interval] < value) interval++;
      places[r * featureCount + f] = feature->first + interval * chunk->intervalSize;
    }
  }
}

typedef uint8_t Columns __attribute__((vector_size(columnCount), aligned(16)));

// `lanes` is a constant where this is inlined.
static inline __attribute__((always_inline)) void addLanes(const uint8_t *restrict base, const Group group,
                                                           uint32_t featureCount, uint32_t first, uint32_t end,
                                                           double *restrict sums, const uint32_t lanes) {
  const uint32_t *tops = (const uint32_t *)(base + group.tops);
  const double *values = (const double *)(base + group.leafValues);
  const uint8_t *map = base + group.map;
  const uint8_t *table = base + group.intervals;
  for (uint32_t r = first; r < end; r += lanes) {
    union {
      Columns all[lanesMax];
      uint8_t of[lanesMax][columnCount];
    } columns;
    for (uint32_t i = 0; i < lanes; i++) {
      const uint32_t *place = places + (r + i) * featureCount;
      Columns sum = {0};
      for (uint32_t f = 0; f < featureCount; f++)
        sum += *(const Columns *)(table + (size_t)*(const uint16_t *)(map + place[f]) * columnCount);
      columns.all[i] = sum;
    }
    double sum[lanesMax];
    memcpy(sum, sums + r, lanes * sizeof *sum);
    for (uint32_t t = 0; t < group.treeCount; t++) {
      const uint32_t isDeep = tops[t] & 1;
      const uint32_t *top = (const uint32_t *)(base + (tops[t] - isDeep));
      uint32_t entry[lanesMax];
      for (uint32_t i = 0; i < lanes; i++) entry[i] = top[columns.of[i][t]];
      if (isDeep)
        for (uint32_t i = 0; i < lanes; i++)
          entry[i] = ((const uint32_t *)(base + (entry[i] >> 6)))[columns.of[i][entry[i] & 63]];
      for (uint32_t i = 0; i < lanes; i++) sum[i] += values[base[(entry[i] >> 6) + columns.of[i][entry[i] & 63]]];
    }
    memcpy(sums + r, sum, lanes * sizeof *sum);
  }
}

static void addGroup(const uint8_t *restrict base, const Group group, uint32_t featureCount, uint32_t count,
                     double *restrict sums) {
  const uint32_t together = count - count % lanesMax;
  addLanes(base, group, featureCount, 0, together, sums, lanesMax);
  addLanes(base, group, featureCount, together, count, sums, 1);
}

// sums has one float64 per row.
void cells(const uint8_t *base, const float *rows, uint32_t featureCount, uint32_t count, double *sums) {
  const uint32_t *header = (const uint32_t *)base;
  memset(sums, 0, count * sizeof *sums);
  for (uint32_t first = 0; first < count; first += rowsPerBlock) {
    const uint32_t rowCount = count - first < rowsPerBlock ? count - first : rowsPerBlock;
    for (uint32_t c = 0; c < header[5]; c++) {
      const Chunk *chunk = (const Chunk *)(base + header[6]) + c;
      findPlaces(base, chunk, rows + (size_t)first * featureCount, featureCount, rowCount);
      for (uint32_t g = 0; g < chunk->groupCount; g++)
        addGroup(base, ((const Group *)(base + chunk->groups))[g], featureCount, rowCount, sums + first);
    }
  }
}
