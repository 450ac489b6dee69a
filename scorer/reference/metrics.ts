// docs/METRICS.md: every metric, as the registry of a scorer that has just started to use a model tells it.
import { createMetrics } from '../src/metrics.ts';
import { code, table } from './markdown.ts';

/** What documents say of a metric, gathered from its samples. */
type Described = {
  readonly name: string;
  readonly help: string;
  readonly type: string;
  /** The values that each label has from the start; none: they come with what runs. */
  readonly labels: ReadonlyMap<string, readonly string[]>;
  readonly bucketBounds: readonly string[];
};

/** Units that names end in, before `_total`. */
const units = ['seconds', 'bytes', 'ratio', 'readings', 'messages', 'columns', 'blocks', 'partitions'];
const unitsByName: Readonly<Record<string, string>> = {
  dead_letters: 'messages',
  anomaly_reasons: 'reasons',
  blocks_dropped: 'blocks',
  model_swaps: 'swaps',
  model_failures: 'looks',
  challenger_failures: 'looks',
  shadow_anomalies: 'readings',
  shadow_disagreements: 'readings',
  shadow_dropped: 'readings',
  blocks_under_way: 'blocks',
  reading_score: 'score, 0 to 1',
  store_available: '1 or 0',
  process_open_fds: 'files',
  process_max_fds: 'files',
};

export async function describeMetrics(): Promise<string> {
  const described = await readRegistry();
  const own = described.filter(({ name }) => name.startsWith('lonetree_'));
  const runtime = described.filter(({ name }) => !name.startsWith('lonetree_'));
  const buckets = own
    .filter(({ bucketBounds }) => bucketBounds.length > 0)
    .map(({ name, bucketBounds }) => [code(name), bucketBounds.join(', ')]);
  return `# Metrics of the scorer

Written by \`npx bun run build:docs\` from the registry that \`GET /metrics\` shows.

Readings, messages, scores and latencies count when their block is stored: what was rolled back is in none of them. No label is
of a station; a label's values are few, and those that are listed are there with 0 from the start, so that the first
occurrence is an increase already.

${table(['metric', 'type', 'unit', 'labels', 'meaning'], own.map(describeRow))}

## Buckets

Upper bounds, inclusive; \`+Inf\` is left out.

${table(['histogram', 'bounds'], buckets)}

## The process

${table(['metric', 'type', 'unit', 'labels', 'meaning'], runtime.map(describeRow))}
`;
}

const describeRow = ({ name, type, labels, help }: Described): string[] => [
  code(name),
  type,
  unitOf(name),
  [...labels].map(([label, values]) => code(label) + describeValues(values)).join('; '),
  help,
];

const describeValues = (values: readonly string[]) =>
  values.length === 0 ? '' : `: ${values.map(code).join(', ')}`;

function unitOf(name: string): string {
  const bare = name.replace(/^lonetree_/, '').replace(/_total$/, '');
  if (name.endsWith('_info')) return '1';
  const unit = unitsByName[bare] ?? units.find((known) => bare === known || bare.endsWith(`_${known}`));
  if (unit === undefined) throw new Error(`say in which unit ${name} is`);
  return unit;
}

async function readRegistry(): Promise<Described[]> {
  const { registry, modelUsed } = createMetrics(() => ({
    partitions: [],
    blocksUnderWay: 0,
    seen: { ends: new Map(), isStoreReady: true },
    challenger: null,
  }));
  modelUsed(
    { name: '', version: '', sha256: '', createdAtMs: 0, alarmRate: 0, features: ['<feature of the model>'] },
    'start',
  );
  const metrics = await registry.getMetricsAsJSON();
  return metrics.map(({ name, help, type, values }) => {
    const { labelNames } = registry.getSingleMetric(name) as unknown as {
      readonly labelNames: readonly string[];
    };
    const valuesOf = (label: string) =>
      new Set(
        name.endsWith('_info')
          ? []
          : values.map(({ labels }) => (labels as Readonly<Record<string, unknown>>)[label]),
      );
    return {
      name,
      help: help.endsWith('.') ? help : `${help}.`,
      type: String(type),
      labels: new Map(
        labelNames.map((label) => [
          label,
          [...valuesOf(label)].filter((value): value is string => typeof value === 'string' && value !== ''),
        ]),
      ),
      bucketBounds: [...valuesOf('le')].filter((bound) => typeof bound === 'number').map(String),
    };
  });
}
