import { chosen, type Plan } from '../dashboard.ts';
import { lines, number } from '../panels.ts';

const database = `${chosen}, datname!~"template.*|"`;
const rate = (metric: string) => `sum by (datname) (rate(${metric}{${database}}[$__rate_interval]))`;

/** PostgreSQL 17 counts checkpoints in a view of their own, those before in that of the background writer. */
const checkpointer = (how: 'rate' | 'increase', from17: string, before: string, span: string): string =>
  [`pg_stat_checkpointer_${from17}_total`, `pg_stat_bgwriter_${before}_total`]
    .map((metric) => `sum(${how}(${metric}{${chosen}}[${span}]))`)
    .join(' or ');

/** Is the store well, and does it have room? */
export const postgresql: Plan = {
  uid: 'lonetree-postgresql',
  title: 'PostgreSQL',
  description: 'The database that verdicts are stored in.',
  metric: 'pg_up',
  rows: [
    {
      title: 'Now',
      panels: [
        number({
          title: 'Database up',
          description: '1: it answers the exporter. 0: RUNBOOK, "The store is away".',
          unit: 'short',
          base: 'red',
          limits: [[1, 'green']],
          query: [`min(pg_up{${chosen}})`, 'up'],
        }),
        number({
          title: 'Connections',
          description: 'Each scorer holds up to nine. Near max_connections: others are refused.',
          unit: 'short',
          limits: [[80, 'yellow']],
          query: [`sum(pg_stat_activity_count{${chosen}})`, 'connections'],
        }),
        number({
          title: 'Longest transaction',
          description:
            'Under a second; a scorer’s are ended after five. Minutes: somebody’s query holds up clean-up.',
          unit: 's',
          limits: [
            [60, 'yellow'],
            [600, 'red'],
          ],
          query: [`max(pg_stat_activity_max_tx_duration{${chosen}})`, 'longest'],
        }),
        number({
          title: 'Verdicts’ tables',
          description: 'All day partitions with their indexes. RUNBOOK, "Space in the database".',
          unit: 'bytes',
          query: [`sum(lonetree_partition_size_bytes{${chosen}})`, 'size'],
        }),
        number({
          title: 'Day partitions',
          description: 'RETENTION_DAYS and the next days. More: the DAG retention does not run.',
          unit: 'short',
          query: [`max(lonetree_partition_count{${chosen}, table="prediction"})`, 'partitions'],
        }),
        number({
          title: 'Deadlocks in an hour',
          description: 'None.',
          unit: 'short',
          limits: [[0.5, 'red']],
          query: [`sum(increase(pg_stat_database_deadlocks{${chosen}}[1h]))`, 'deadlocks'],
        }),
      ],
    },
    {
      title: 'Work',
      panels: [
        lines({
          title: 'Rows inserted',
          description: 'Each second, by database: readings and anomalies.',
          unit: 'cps',
          queries: [[rate('pg_stat_database_tup_inserted'), '{{datname}}']],
        }),
        lines({
          title: 'Transactions',
          description: 'Each second. Rolled back ones of Lonetree: a scorer was fenced, or disturbed.',
          unit: 'cps',
          queries: [
            [rate('pg_stat_database_xact_commit'), 'committed, {{datname}}'],
            [rate('pg_stat_database_xact_rollback'), 'rolled back, {{datname}}'],
          ],
        }),
        lines({
          title: 'Connections by state',
          description: 'Many that are idle in a transaction: somebody forgot to commit.',
          unit: 'short',
          isStacked: true,
          queries: [[`sum by (state) (pg_stat_activity_count{${chosen}})`, '{{state}}']],
        }),
        lines({
          title: 'Locks by mode',
          description: 'Exclusive ones for more than moments hold up others.',
          unit: 'short',
          queries: [[`sum by (mode) (pg_locks_count{${chosen}})`, '{{mode}}']],
        }),
      ],
    },
    {
      title: 'Disk',
      panels: [
        lines({
          title: 'Size of the databases',
          description: 'Readings need about 100 bytes each, indexes included.',
          unit: 'bytes',
          queries: [[`max by (datname) (pg_database_size_bytes{${database}})`, '{{datname}}']],
        }),
        lines({
          title: 'Pages written, by whom',
          description: 'Each second, by checkpoints and by the background writer.',
          unit: 'cps',
          queries: [
            [
              checkpointer('rate', 'buffers_written', 'buffers_checkpoint', '$__rate_interval'),
              'checkpoints',
            ],
            [
              `sum(rate(pg_stat_bgwriter_buffers_clean_total{${chosen}}[$__rate_interval]))`,
              'background writer',
            ],
          ],
        }),
        lines({
          title: 'Checkpoints',
          description: 'In an hour. Requested ones mean that max_wal_size is too small for the load.',
          unit: 'short',
          queries: [
            [checkpointer('increase', 'num_timed', 'checkpoints_timed', '1h'), 'timed'],
            [checkpointer('increase', 'num_requested', 'checkpoints_req', '1h'), 'requested'],
          ],
        }),
        lines({
          title: 'Found in memory',
          description: 'Share of pages that needed no disk. Near 1.',
          unit: 'percentunit',
          max: 1,
          queries: [
            [
              `sum by (datname) (rate(pg_stat_database_blks_hit{${database}}[5m])) / (sum by (datname) (rate(pg_stat_database_blks_hit{${database}}[5m])) + sum by (datname) (rate(pg_stat_database_blks_read{${database}}[5m])))`,
              '{{datname}}',
            ],
          ],
        }),
      ],
    },
  ],
};
