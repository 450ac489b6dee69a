import { chosen, type Plan } from '../dashboard.ts';
import { lines, number, rows } from '../panels.ts';

const shadow = (metric: string) => `sum(rate(lonetree_shadow_${metric}[$__rate_interval]))`;
const shadowReadings = shadow(`readings_total{${chosen}}`);

/** Which model scores, does it still fit, and would the next one be better? */
export const models: Plan = {
  uid: 'lonetree-models',
  title: 'Models',
  description: 'The model that scores, the challenger beside it, and drift of what it was trained on.',
  metric: 'lonetree_model_info',
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
          title: 'Models that score',
          description: 'One. Two for minutes: RUNBOOK, "Scorers differ".',
          unit: 'short',
          limits: [[2, 'red']],
          query: [`count(count by (version, sha256) (lonetree_model_info{${chosen}}))`, 'models'],
        }),
        number({
          title: 'Age of the model',
          description: 'Since it was registered. Over 90 days: RUNBOOK, "The model is old".',
          unit: 's',
          limits: [
            [60 * 86_400, 'yellow'],
            [90 * 86_400, 'red'],
          ],
          query: [`time() - max(lonetree_model_created_timestamp_seconds{${chosen}})`, 'age'],
        }),
        number({
          title: 'Refused or failed, in an hour',
          description:
            'Looks for another model that came to nothing. 0; else: RUNBOOK, "A model is refused".',
          unit: 'short',
          limits: [[0.5, 'red']],
          query: [`sum(increase(lonetree_model_failures_total{${chosen}}[1h]))`, 'failures'],
        }),
        number({
          title: 'Fleet has drifted',
          description: '1: in two windows running. RUNBOOK, "A drift alarm".',
          unit: 'short',
          limits: [[1, 'red']],
          query: ['max(lonetree_drift_detected)', 'drift'],
        }),
        number({
          title: 'Stations that stand out',
          description: 'Stations that measure unlike all others, in both windows: look at their sensors.',
          unit: 'short',
          limits: [[1, 'yellow']],
          query: ['max(lonetree_drift_faulty_stations)', 'stations'],
        }),
        number({
          title: 'Share scored in shadow',
          description:
            'Of the readings, by the challenger; 0 without one. As SHADOW_SAMPLE_RATE says, less when it is behind.',
          unit: 'percentunit',
          query: [
            `${shadowReadings} / sum(rate(lonetree_readings_total{${chosen}}[$__rate_interval]))`,
            'share',
          ],
        }),
      ],
    },
    {
      title: 'Versions',
      panels: [
        lines({
          title: 'Scorers by version',
          description:
            'How many scorers use which version; empty is a model from a file. A change takes seconds.',
          unit: 'short',
          isStacked: true,
          queries: [[`count by (version) (lonetree_model_info{${chosen}})`, 'version {{version}}']],
        }),
        lines({
          title: 'Changes and refusals',
          description:
            'Models that came into use, by what made the scorer look, and looks that failed, by why.',
          unit: 'short',
          queries: [
            [
              `sum by (cause) (increase(lonetree_model_swaps_total{${chosen}}[$__rate_interval]))`,
              'used: {{cause}}',
            ],
            [
              `sum by (reason) (increase(lonetree_model_failures_total{${chosen}}[$__rate_interval])) > 0 or vector(0)`,
              'failed: {{reason}}',
            ],
          ],
        }),
        rows({
          title: 'Who uses which model since when, and why',
          description: 'Each use of a model by a scorer, newest first.',
          sql: `select at, scorer, version, cause, requested_by, why, left(sha256, 12) as sha256 from model_swap
            where $__timeFilter(at) order by id desc limit 50`,
        }),
      ],
    },
    {
      title: 'The challenger in shadow',
      panels: [
        lines({
          title: 'Share of abnormal readings, champion and challenger',
          description: 'Of the same readings. No lines: there is no challenger.',
          unit: 'percentunit',
          queries: [
            [
              `sum by (model) (rate(lonetree_shadow_anomalies_total{${chosen}}[$__rate_interval])) / ignoring(model) group_left ${shadowReadings}`,
              '{{model}}',
            ],
          ],
        }),
        lines({
          title: 'Disagreements',
          description: 'Share of those readings that one of them calls abnormal and the other does not.',
          unit: 'percentunit',
          queries: [[`${shadow(`disagreements_total{${chosen}}`)} / ${shadowReadings}`, 'disagree']],
        }),
        lines({
          title: 'Readings left out of the shadow',
          description:
            'Sampled, and not compared. behind: the challenger had no time; verdicts are never late for it.',
          unit: 'cps',
          width: 24,
          queries: [
            [
              `sum by (reason) (rate(lonetree_shadow_dropped_total{${chosen}}[$__rate_interval]))`,
              '{{reason}}',
            ],
          ],
        }),
      ],
    },
    {
      title: 'Drift and training',
      panels: [
        lines({
          title: 'Distance from the training rows, by feature',
          description:
            'Kolmogorov-Smirnov distance of the last window, 0 to 1. From 0.1 on it may be a drift.',
          unit: 'short',
          limits: [[0.1, 'yellow']],
          max: 1,
          queries: [['max by (feature) (lonetree_drift_ks_distance)', '{{feature}}']],
        }),
        lines({
          title: 'Shift in standard deviations, by feature',
          description: 'Wasserstein distance of the last window. From 0.25 on it may be a drift.',
          unit: 'short',
          limits: [[0.25, 'yellow']],
          queries: [['max by (feature) (lonetree_drift_wasserstein_sigmas)', '{{feature}}']],
        }),
        rows({
          title: 'Training runs',
          description:
            'Each version that was trained and registered, newest first, with what the last gate said of it. realised: share of its own ordinary rows that it calls abnormal, alarm_rate as asked for. The run in MLflow has figures and files.',
          sql: `select at, detail->>'version' as version, detail->>'why' as why, (detail->>'rows')::bigint as rows,
            detail->>'trained_from' as rows_from, detail->>'trained_to' as rows_to,
            (detail->>'trees') || ' × ' || (detail->>'max_samples') as trees_samples,
            (detail->>'alarm_rate')::float8 as alarm_rate, (detail->>'realised_alarm_rate')::float8 as realised,
            (select case when (gate.detail->>'passed')::boolean then 'passed'
              else 'failed: ' || array_to_string(array(select jsonb_array_elements_text(gate.detail->'failed')), ', ') end
              from event gate where gate.kind = 'gate' and gate.detail @> jsonb_build_object(
                'name', event.detail->'name', 'version', event.detail->'version') order by gate.id desc limit 1) as gate,
            detail->>'run_id' as mlflow_run
            from event where kind = 'registration' and $__timeFilter(at) order by id desc limit 50`,
        }),
        rows({
          title: 'What happened to models',
          description:
            'Verdicts on drift, registrations, gates, promotions, rollbacks and retention, newest first.',
          sql: `select at, kind, detail from event where $__timeFilter(at) order by id desc limit 50`,
        }),
      ],
    },
  ],
};
