import { chosen, type Plan } from '../dashboard.ts';
import { heatmap, lines, number } from '../panels.ts';

const latency = (share: number) =>
  `histogram_quantile(${share}, sum by (le) (rate(lonetree_reading_latency_seconds_bucket{${chosen}}[$__rate_interval])))`;
const inTime = `sum(rate(lonetree_reading_latency_seconds_bucket{${chosen}, le="0.1"}[$__rate_interval])) / sum(rate(lonetree_reading_latency_seconds_count{${chosen}}[$__rate_interval]))`;
const stage = (share: number) =>
  `histogram_quantile(${share}, sum by (le, stage) (rate(lonetree_stage_duration_seconds_bucket{${chosen}}[$__rate_interval])))`;

/** Is it running, is it fast enough, and what bounds it? */
export const scoring: Plan = {
  uid: 'lonetree-scoring',
  title: 'Scoring',
  description: 'Whether readings are scored and stored in time, and what takes the time.',
  metric: 'lonetree_readings_total',
  annotations: [
    {
      name: 'Model changed',
      expr: `sum by (version, sha256) (lonetree_model_info{${chosen}} unless lonetree_model_info{${chosen}} offset $__rate_interval)`,
      title: 'Model {{version}} ({{sha256}})',
    },
  ],
  rows: [
    {
      title: 'Now',
      panels: [
        number({
          title: 'Readings stored',
          description:
            'Readings with a stored verdict, each second. None for minutes: RUNBOOK, "No readings".',
          unit: 'cps',
          base: 'red',
          limits: [[0.001, 'green']],
          query: [`sum(rate(lonetree_readings_total{${chosen}}[$__rate_interval]))`, 'readings'],
        }),
        number({
          title: 'Stored within 100 ms',
          description: 'The objective is 99 %, over a month. Lower for long: RUNBOOK, "Verdicts come late".',
          unit: 'percentunit',
          base: 'red',
          limits: [
            [0.95, 'yellow'],
            [0.99, 'green'],
          ],
          query: [inTime, 'in time'],
        }),
        number({
          title: 'Latency, median',
          description:
            'From a message’s timestamp in the log until its verdicts are committed. A few milliseconds.',
          unit: 's',
          limits: [
            [0.05, 'yellow'],
            [0.1, 'red'],
          ],
          query: [latency(0.5), 'p50'],
        }),
        number({
          title: 'Latency, 99th percentile',
          description:
            'One reading in a hundred takes longer. Tens of milliseconds; more when blocks queue or the disk stalls.',
          unit: 's',
          limits: [
            [0.1, 'yellow'],
            [0.5, 'red'],
          ],
          query: [latency(0.99), 'p99'],
        }),
        number({
          title: 'Messages that wait',
          description:
            'Messages in Kafka beyond the stored positions. Near 0; growing: RUNBOOK, "The lag grows".',
          unit: 'short',
          limits: [
            [1_000, 'yellow'],
            [10_000, 'red'],
          ],
          query: [`sum(lonetree_consumer_lag_messages{${chosen}})`, 'waiting'],
        }),
        number({
          title: 'Scorers up',
          description:
            'Scorers that Prometheus reaches. Fewer than you started: RUNBOOK, "A scorer is down".',
          unit: 'short',
          base: 'red',
          limits: [[1, 'green']],
          query: [`sum(up{${chosen}})`, 'up'],
        }),
      ],
    },
    {
      title: 'Latency',
      panels: [
        lines({
          title: 'Latency',
          description:
            'From a message’s timestamp in the log until its verdicts are committed, weighted by readings. The dashed line is the objective.',
          unit: 's',
          limits: [[0.1, 'red']],
          queries: [
            [latency(0.5), 'p50'],
            [latency(0.9), 'p90'],
            [latency(0.99), 'p99'],
            [latency(0.999), 'p99.9'],
          ],
        }),
        heatmap({
          title: 'Latency of all readings',
          description:
            'How many readings took how long. A second band far above the first is a stall: of the disk, the database or a rebalance.',
          unit: 's',
          expr: `sum by (le) (increase(lonetree_reading_latency_seconds_bucket{${chosen}}[$__rate_interval]))`,
        }),
        lines({
          title: 'Stages of a block, 99th percentile',
          description:
            'What each stage of a block takes. The store is mostly the longest: its commit waits for the disk.',
          unit: 's',
          queries: [[stage(0.99), '{{stage}}']],
        }),
        lines({
          title: 'Stages of a block, median',
          description: 'The same for the block in the middle.',
          unit: 's',
          queries: [[stage(0.5), '{{stage}}']],
        }),
      ],
    },
    {
      title: 'Throughput and what bounds it',
      panels: [
        lines({
          title: 'Readings stored, by verdict',
          description: 'Readings each second. The abnormal ones are on the dashboard Anomalies.',
          unit: 'cps',
          isStacked: true,
          queries: [
            [`sum by (verdict) (rate(lonetree_readings_total{${chosen}}[$__rate_interval]))`, '{{verdict}}'],
          ],
        }),
        lines({
          title: 'Where the time goes',
          description:
            'Seconds that blocks spend in each stage, each second and scorer. Blocks of several partitions are stored at once, so store may exceed 1. Near 3: the database bounds.',
          unit: 'short',
          queries: [
            [
              `sum by (stage) (rate(lonetree_stage_duration_seconds_sum{${chosen}}[$__rate_interval])) / ignoring(stage) group_left sum(up{${chosen}})`,
              '{{stage}}',
            ],
          ],
        }),
        lines({
          title: 'Messages that wait, by partition',
          description:
            'Messages beyond the stored position. One partition alone: its key has most of the messages.',
          unit: 'short',
          queries: [
            [`sum by (partition) (lonetree_consumer_lag_messages{${chosen}})`, 'partition {{partition}}'],
          ],
        }),
        lines({
          title: 'Blocks under way, and partitions that stand still',
          description:
            'Up to three blocks a scorer at once. A partition stands still while store or log are away: RUNBOOK, "The store is away".',
          unit: 'short',
          queries: [
            [`sum by (instance) (lonetree_blocks_under_way{${chosen}})`, 'blocks under way, {{instance}}'],
            [`sum(lonetree_partitions{${chosen}, state="standing"})`, 'partitions standing'],
          ],
        }),
        lines({
          title: 'Readings and messages a block',
          description:
            'How many come with one fetch: few when there is little to do, more when blocks wait for one another.',
          unit: 'short',
          queries: [
            [
              `sum(rate(lonetree_block_readings_sum{${chosen}}[$__rate_interval])) / sum(rate(lonetree_block_readings_count{${chosen}}[$__rate_interval]))`,
              'readings',
            ],
            [
              `sum(rate(lonetree_block_messages_sum{${chosen}}[$__rate_interval])) / sum(rate(lonetree_block_messages_count{${chosen}}[$__rate_interval]))`,
              'messages',
            ],
          ],
        }),
        lines({
          title: 'Blocks dropped and read again',
          description:
            'Nothing is lost by it. elsewhere: after a rebalance. fenced: another scorer was faster. error: store or log failed.',
          unit: 'cps',
          queries: [
            [
              `sum by (reason) (rate(lonetree_blocks_dropped_total{${chosen}}[$__rate_interval]))`,
              '{{reason}}',
            ],
          ],
        }),
      ],
    },
    {
      title: 'Processes',
      panels: [
        lines({
          title: 'Processor',
          description:
            'Of one core. A scorer uses one for scoring and little more: near 1 it is what bounds, and another scorer helps.',
          unit: 'percentunit',
          limits: [[1, 'yellow']],
          queries: [[`rate(process_cpu_seconds_total{${chosen}}[$__rate_interval])`, '{{instance}}']],
          width: 6,
        }),
        lines({
          title: 'Memory',
          description: 'What a scorer holds. Under 350 MB also when saturated.',
          unit: 'bytes',
          limits: [[350e6, 'red']],
          queries: [[`process_resident_memory_bytes{${chosen}}`, '{{instance}}']],
          width: 6,
        }),
        lines({
          title: 'Event loop, 99th percentile of its lag',
          description:
            'How late timers are. Tens of milliseconds while blocks are scored without a pause; hundreds: the machine is too busy.',
          unit: 's',
          limits: [[0.25, 'red']],
          queries: [[`nodejs_eventloop_lag_p99_seconds{${chosen}}`, '{{instance}}']],
          width: 6,
        }),
        lines({
          title: 'Scorers by version',
          description:
            'How many scorers are of which version of Lonetree, and of Bun. Two for long: an upgrade was left half done.',
          unit: 'short',
          isStacked: true,
          queries: [[`count by (version, bun) (lonetree_build_info{${chosen}})`, '{{version}}, Bun {{bun}}']],
          width: 6,
        }),
      ],
    },
  ],
};
