import { chosen, type Plan } from '../dashboard.ts';
import { heatmap, lines, number, rows } from '../panels.ts';

const share = `sum(rate(lonetree_readings_total{${chosen}, verdict="abnormal"}[5m])) / sum(rate(lonetree_readings_total{${chosen}}[5m]))`;
const nominal = `max(lonetree_model_alarm_rate_ratio{${chosen}})`;

/** What is abnormal, why, and is that as much as is to be expected? */
export const anomalies: Plan = {
  uid: 'lonetree-anomalies',
  title: 'Anomalies',
  description: 'Abnormal readings by reason and sensor, against the rate that the model was made for.',
  metric: 'lonetree_readings_total',
  rows: [
    {
      title: 'Now',
      panels: [
        number({
          title: 'Abnormal readings',
          description: 'Each second.',
          unit: 'cps',
          query: [
            `sum(rate(lonetree_readings_total{${chosen}, verdict="abnormal"}[$__rate_interval]))`,
            'abnormal',
          ],
        }),
        number({
          title: 'Share of the readings',
          description: 'Of the last five minutes. Compare it with the nominal share beside it.',
          unit: 'percentunit',
          query: [share, 'share'],
        }),
        number({
          title: 'Nominal share',
          description: 'What the model calls abnormal of readings like those that it was trained on.',
          unit: 'percentunit',
          query: [nominal, 'nominal'],
        }),
        number({
          title: 'Times the nominal share',
          description:
            'Between a third and three for long: as it should be. Else: RUNBOOK, "Too many or too few anomalies".',
          unit: 'short',
          limits: [
            [3, 'yellow'],
            [10, 'red'],
          ],
          query: [`(${share}) / ${nominal}`, 'times'],
        }),
        number({
          title: 'Dead letters in an hour',
          description: 'Messages that could not be scored. None. Else: RUNBOOK, "Dead letters".',
          unit: 'short',
          limits: [[0.5, 'red']],
          query: [`sum(increase(lonetree_dead_letters_total{${chosen}}[1h]))`, 'dead letters'],
        }),
        number({
          title: 'Columns ignored',
          description:
            'Columns each second that the model has no feature for: harmless, unless a feature was renamed.',
          unit: 'cps',
          query: [`sum(rate(lonetree_ignored_columns_total{${chosen}}[$__rate_interval]))`, 'columns'],
        }),
      ],
    },
    {
      title: 'Why',
      panels: [
        lines({
          title: 'Share of abnormal readings, and nominal',
          description:
            'A wave over minutes is a fault of some stations; a step that stays is a drift or another model.',
          unit: 'percentunit',
          queries: [
            [share, 'abnormal'],
            [nominal, 'nominal'],
          ],
        }),
        lines({
          title: 'By reason',
          description:
            'forest: the combination is rare. high, low: a sensor is beyond what it ever showed. missing: a value is not there.',
          unit: 'cps',
          isStacked: true,
          queries: [
            [`sum by (kind) (rate(lonetree_anomaly_reasons_total{${chosen}}[$__rate_interval]))`, '{{kind}}'],
          ],
        }),
        lines({
          title: 'By sensor',
          description:
            'Reasons that name a sensor. One sensor far above the others: look at that kind of sensor first.',
          unit: 'cps',
          isStacked: true,
          queries: [
            [
              `sum by (feature) (rate(lonetree_anomaly_reasons_total{${chosen}, feature!=""}[$__rate_interval]))`,
              '{{feature}}',
            ],
          ],
        }),
        heatmap({
          title: 'Anomaly scores of all readings',
          description: '0 to 1: 0.5 and less is usual. The whole band moving up is a drift.',
          unit: 'short',
          expr: `sum by (le) (increase(lonetree_reading_score_bucket{${chosen}}[$__rate_interval]))`,
        }),
        lines({
          title: 'Dead letters, by reason',
          description:
            'Messages that could not be scored, each second. They are kept whole in the dead-letter topic.',
          unit: 'cps',
          isStacked: true,
          width: 24,
          queries: [
            [
              `sum by (reason) (rate(lonetree_dead_letters_total{${chosen}}[$__rate_interval]))`,
              '{{reason}}',
            ],
          ],
        }),
      ],
    },
    {
      title: 'Which',
      panels: [
        rows({
          title: 'Stations with most abnormal readings',
          description: 'In the time shown.',
          width: 8,
          sql: `select station, count(*) as abnormal, max(time) as last from anomaly
            where $__timeFilter(time) group by station order by abnormal desc limit 20`,
        }),
        rows({
          title: 'Latest abnormal readings',
          description: 'Newest first, with all reasons; severity in decades of rarity.',
          width: 16,
          sql: `select time, station, array_to_string(reasons, ' + ') as reasons, severity, score from anomaly
            where $__timeFilter(time) order by time desc limit 100`,
        }),
      ],
    },
  ],
};
