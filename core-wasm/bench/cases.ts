// What the benchmark measures: forests, and the numbers of rows that a call scores.

export type Case = {
  readonly features: number;
  readonly trees: number;
  readonly samples: number;
  /** Rows a call. */
  readonly batches: readonly number[];
  /** Only our own engines: what others need for larger forests says nothing new. */
  readonly isOwnOnly: boolean;
};

/** Distinct rows, more than any cache of branches remembers; every call takes others of them. */
export const rowCount = 65_536;
const allBatches = [1, 16, 64, 1_000, 4_096, 65_536];
const forest = { trees: 100, samples: 256 };

export const fullCases: readonly Case[] = [
  ...[3, 6, 21].map((features) => ({ features, ...forest, batches: allBatches, isOwnOnly: false })),
  { features: 10, ...forest, batches: [1_000], isOwnOnly: true },
  { features: 2, ...forest, batches: [1, 64, 1_000], isOwnOnly: true },
  ...[
    { trees: 200, samples: 512 },
    { trees: 300, samples: 1_024 },
    { trees: 1_000, samples: 256 },
  ].map((size) => ({ features: 3, ...size, batches: [1_000], isOwnOnly: true })),
];

export const quickCases: readonly Case[] = [
  { features: 3, ...forest, batches: [64, 1_000], isOwnOnly: false },
  { features: 2, ...forest, batches: [64], isOwnOnly: true },
];
