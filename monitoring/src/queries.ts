// Every query that the dashboards make, read from what Grafana gets, so that none is left out of the tests.
import assert from 'node:assert/strict';
import type { Dashboard, Panel, RowPanel } from '@grafana/grafana-foundation-sdk/dashboard';
import { buildDashboards } from './dashboards/index.ts';

export type DashboardQuery = {
  readonly dashboard: string;
  /** The panel's title, or which variable or annotation it is. */
  readonly panel: string;
  /** As Prometheus or PostgreSQL can answer it: variables stand for all there is. */
  readonly expr: string;
  readonly datasource: 'prometheus' | 'postgresql';
};

type Target = { readonly expr?: string; readonly rawSql?: string };

export const listQueries = (): readonly DashboardQuery[] => buildDashboards().flatMap(queriesOf);

function queriesOf(dashboard: Dashboard): DashboardQuery[] {
  const uid = dashboard.uid ?? '';
  const make = (panel: string, { expr, rawSql }: Target): DashboardQuery =>
    rawSql === undefined
      ? { dashboard: uid, panel, expr: fillIn(expr ?? ''), datasource: 'prometheus' }
      : { dashboard: uid, panel, expr: fillInSql(rawSql), datasource: 'postgresql' };
  return [
    ...panelsOf(dashboard).flatMap(({ title, targets }) =>
      ((targets ?? []) as readonly Target[]).map((target) => make(title ?? '', target)),
    ),
    ...(dashboard.templating?.list ?? []).map(({ name, query }) =>
      make(`variable ${name}`, { expr: labelQuery(query) }),
    ),
    ...(dashboard.annotations?.list ?? []).map(({ name, expr }) =>
      make(`annotation ${name}`, expr === undefined ? {} : { expr }),
    ),
  ];
}

export const panelsOf = (dashboard: Dashboard): readonly Panel[] =>
  (dashboard.panels ?? []).flatMap((panel) => (isRow(panel) ? panel.panels : [panel]));

const isRow = (panel: Panel | RowPanel): panel is RowPanel => panel.type === 'row';

/** label_values(metric, label) has values where the metric has any. */
function labelQuery(query: unknown): string {
  assert(typeof query === 'string', 'a variable’s query is written as text');
  return query.replace(/^label_values\((.+), \w+\)$/, '$1');
}

const fillIn = (expr: string): string =>
  expr.replaceAll('$__rate_interval', '1m').replaceAll('$job', '.+').replaceAll('$instance', '.+');

const fillInSql = (sql: string): string =>
  sql.replaceAll(/\$__timeFilter\((\w+)\)/g, "$1 > now() - interval '1 hour'");
