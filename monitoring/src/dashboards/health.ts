import type { Plan } from '../dashboard.ts';
import { lines, number } from '../panels.ts';

const probed = (job: string) => `{job="${job}"}`;

/** Are the parts well that train and replace models, and those that watch? */
export const health: Plan = {
  uid: 'lonetree-health',
  title: 'Airflow, MLflow and the watchers',
  description: 'What trains and replaces models, and what watches. Scorers go on without any of it.',
  metric: 'up',
  rows: [
    {
      title: 'Now',
      panels: [
        number({
          title: 'Airflow is healthy',
          description:
            '1: its database and scheduler are well. 0: no drift is looked for, nothing is retrained.',
          unit: 'short',
          base: 'red',
          limits: [[1, 'green']],
          query: [`min(probe_success${probed('airflow')})`, 'healthy'],
        }),
        number({
          title: 'MLflow answers',
          description: '0: scorers go on with the model they have; nothing can be promoted.',
          unit: 'short',
          base: 'red',
          limits: [[1, 'green']],
          query: [`min(probe_success${probed('mlflow')})`, 'healthy'],
        }),
        number({
          title: 'Last look for drift',
          description:
            'Age of the window that was looked at last. Over two days: RUNBOOK, "A stuck retraining".',
          unit: 's',
          limits: [[2 * 86_400, 'red']],
          query: ['time() - max(lonetree_drift_window_end_timestamp_seconds)', 'age'],
        }),
        number({
          title: 'Targets that do not answer',
          description: 'Of all that Prometheus scrapes. 0.',
          unit: 'short',
          limits: [[1, 'red']],
          query: ['count(up{job=~"$job", instance=~"$instance"} == 0) or vector(0)', 'down'],
        }),
        number({
          title: 'Alerts that fire',
          description: 'What they mean and what to do: docs/RUNBOOK.md.',
          unit: 'short',
          limits: [[1, 'red']],
          query: ['count(ALERTS{alertstate="firing"}) or vector(0)', 'firing'],
        }),
        number({
          title: 'Alerts not delivered',
          description: 'In an hour, by Alertmanager. 0; else its receiver is away.',
          unit: 'short',
          limits: [[0.5, 'red']],
          query: ['sum(increase(alertmanager_notifications_failed_total[1h]))', 'failed'],
        }),
      ],
    },
    {
      title: 'Over time',
      panels: [
        lines({
          title: 'Up',
          description: 'Each target that Prometheus scrapes: 1 or 0.',
          unit: 'short',
          max: 1,
          queries: [['min by (job) (up{job=~"$job", instance=~"$instance"})', '{{job}}']],
        }),
        lines({
          title: 'How long Airflow and MLflow take to answer',
          description: 'Tens of milliseconds.',
          unit: 's',
          queries: [['max by (job) (probe_duration_seconds{job=~"airflow|mlflow"})', '{{job}}']],
        }),
        lines({
          title: 'Since the last event of each kind',
          description:
            'Verdicts on drift, gates, promotions, rollbacks, retention. drift and retention come by schedule: days without are a fault.',
          unit: 's',
          queries: [['time() - max by (kind) (lonetree_event_last_timestamp_seconds)', '{{kind}}']],
        }),
        lines({
          title: 'The machine: processor',
          description: 'Share of all cores that is busy.',
          unit: 'percentunit',
          max: 1,
          queries: [
            [
              '1 - avg by (instance) (rate(node_cpu_seconds_total{mode="idle"}[$__rate_interval]))',
              '{{instance}}',
            ],
          ],
        }),
        lines({
          title: 'The machine: memory in use',
          description: 'Share of it.',
          unit: 'percentunit',
          max: 1,
          queries: [['1 - node_memory_MemAvailable_bytes / node_memory_MemTotal_bytes', '{{instance}}']],
        }),
        lines({
          title: 'The machine: disk in use',
          description: 'Share of each file system. Kafka and PostgreSQL stop when theirs is full.',
          unit: 'percentunit',
          max: 1,
          limits: [[0.85, 'red']],
          queries: [
            [
              '1 - max by (instance, mountpoint) (node_filesystem_avail_bytes{fstype!~"tmpfs|overlay|squashfs"} / node_filesystem_size_bytes{fstype!~"tmpfs|overlay|squashfs"})',
              '{{mountpoint}}',
            ],
          ],
        }),
      ],
    },
  ],
};
