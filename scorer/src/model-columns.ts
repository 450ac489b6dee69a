// Whether a model reads what the running one reads. If not, it would make a dead letter of every message, or call all of
// them abnormal. The order of features is free: they are found by name.
import type { Model } from '@lonetree/core-wasm';

type Columns = Pick<Model, 'features' | 'units'>;

/** How the next model's features and units differ, in words; empty when it can take over. */
export function differencesOf(running: Columns, next: Columns): readonly string[] {
  const [had, has] = [unitsByFeature(running), unitsByFeature(next)];
  const missing = [...had.keys()].filter((feature) => !has.has(feature));
  const added = [...has.keys()].filter((feature) => !had.has(feature));
  // Of a feature whose unit one of them does not know nothing can be said.
  const changed = [...had].filter(
    ([feature, unit]) => unit !== '' && !['', unit].includes(has.get(feature) ?? ''),
  );
  return [
    ...missing.map((feature) => `it does not read ${feature}`),
    ...added.map((feature) => `it needs ${feature}`),
    ...changed.map(([feature, unit]) => `it reads ${feature} in ${has.get(feature)}, not in ${unit}`),
  ];
}

const unitsByFeature = ({ features, units }: Columns): ReadonlyMap<string, string> =>
  new Map(features.map((feature, index) => [feature, units[index] ?? '']));
