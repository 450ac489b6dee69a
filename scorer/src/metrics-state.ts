// Metrics of how the scorer stands at the moment: what it waits for, how far it is behind, and whom it compares with.
import { Gauge, type Registry } from 'prom-client';
import type { Identity } from './model-source.ts';
import type { PartitionState } from './pipeline.ts';
import type { Sighting } from './watch.ts';

export type ScorerState = {
  readonly partitions: readonly PartitionState[];
  readonly blocksUnderWay: number;
  readonly seen: Sighting;
  /** Null: there is none. */
  readonly challenger: Identity | null;
};

export function createStateMetrics(registry: Registry, state: () => ScorerState): void {
  const registers = [registry];
  const gauge = <const Label extends string = never>(
    name: string,
    help: string,
    labelNames: readonly Label[],
    collect: (gauge: Gauge<Label>, state: ScorerState) => void,
  ) =>
    new Gauge<Label>({
      name,
      help,
      labelNames,
      registers,
      collect() {
        this.reset();
        collect(this, state());
      },
    });
  gauge(
    'lonetree_consumer_lag_messages',
    'Messages of the log beyond the stored position, of this scorer’s partitions.',
    ['partition'],
    (lag, { partitions, seen: { ends } }) => {
      for (const { partition, next } of partitions) {
        const end = ends.get(partition);
        if (end !== undefined && next !== null) lag.set({ partition }, Math.max(Number(end - next), 0));
      }
    },
  );
  gauge(
    'lonetree_partitions',
    'This scorer’s partitions: running, or standing still until store or log are back.',
    ['state'],
    (count, { partitions }) => {
      const standing = partitions.filter(({ isStanding }) => isStanding).length;
      count.set({ state: 'standing' }, standing);
      count.set({ state: 'running' }, partitions.length - standing);
    },
  );
  gauge(
    'lonetree_blocks_under_way',
    'Blocks between fetch and commit. As many as partitions may be handled at once: the store is what bounds.',
    [],
    (count, { blocksUnderWay }) => count.set(blocksUnderWay),
  );
  gauge(
    'lonetree_store_available',
    'Whether the store answered when it was last asked: 1 or 0.',
    [],
    (available, { seen: { isStoreReady } }) => available.set(isStoreReady ? 1 : 0),
  );
  gauge(
    'lonetree_challenger_info',
    'The model that scores in shadow: 1.',
    ['version', 'sha256'],
    (info, { challenger }) => {
      if (challenger !== null) info.set({ version: challenger.version, sha256: challenger.sha256 }, 1);
    },
  );
}
