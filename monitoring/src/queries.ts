// Every query that the dashboards make, read from what Grafana gets, so that none is left out of the tests.
import assert from 'node:assert/strict';
import type { Dashboard, Panel, RowPanel } from '@grafana/grafana-foundation-sdk/dashboard';
import { buildDashboards } from './dashboards/index.ts';

export type DashboardQuery = {
  readonly dashboard: string;
  /** The panel's title, or which annotation it is. */
  readonly panel: string;
  /** With variables in it, as Grafana gets it. */
  readonly text: string;
  readonly datasource: 'prometheus' | 'postgresql';
};

/** A variable's values are those that `label` has among the series of `selector`, in which variables before it stand. */
export type DashboardVariable = {
  readonly dashboard: string;
  readonly name: string;
  readonly selector: string;
  readonly label: string;
};

type Target = { readonly expr?: string; readonly rawSql?: string };

export const listQueries = (): readonly DashboardQuery[] => buildDashboards().flatMap(queriesOf);

function queriesOf(dashboard: Dashboard): DashboardQuery[] {
  const make = (panel: string, { expr, rawSql }: Target): DashboardQuery => ({
    dashboard: dashboard.uid ?? '',
    panel,
    text: rawSql ?? expr ?? '',
    datasource: rawSql === undefined ? 'prometheus' : 'postgresql',
  });
  return [
    ...panelsOf(dashboard).flatMap(({ title, targets }) =>
      ((targets ?? []) as readonly Target[]).map((target) => make(title ?? '', target)),
    ),
    ...(dashboard.annotations?.list ?? []).map(({ name, expr }) =>
      make(`annotation ${name}`, expr === undefined ? {} : { expr }),
    ),
  ];
}

export const panelsOf = (dashboard: Dashboard): readonly Panel[] =>
  (dashboard.panels ?? []).flatMap((panel) => (isRow(panel) ? panel.panels : [panel]));

const isRow = (panel: Panel | RowPanel): panel is RowPanel => panel.type === 'row';

/** In the order in which Grafana fills them. */
export const listVariables = (): readonly DashboardVariable[] =>
  buildDashboards().flatMap(({ uid, templating }) =>
    (templating?.list ?? []).map(({ name, query }) => {
      assert(typeof query === 'string', 'a variable’s query is written as text');
      const [, selector, label] = /^label_values\((.+), (\w+)\)$/.exec(query) ?? [];
      assert(selector !== undefined && label !== undefined, `${query} asks for a label’s values`);
      return { dashboard: uid ?? '', name, selector, label };
    }),
  );

/** A query as its datasource gets it when All is chosen of each variable, whose values are given by name. */
export function fillIn(text: string, values: Readonly<Record<string, readonly string[]>>): string {
  const all = Object.entries(values).reduce(
    (filled, [name, each]) => filled.replaceAll(`$${name}`, `(${each.map(quoteForRegex).join('|')})`),
    text.replaceAll('$__rate_interval', '1m'),
  );
  return all.replaceAll(/\$__timeFilter\((\w+)\)/g, "$1 > now() - interval '1 hour'");
}

/** As Grafana does it for Prometheus: for a regular expression, and that in a quoted string. */
const quoteForRegex = (value: string): string =>
  value.replaceAll('\\', '\\\\\\\\').replaceAll(/[$^*{}[\]'+?.()|]/g, '\\\\$&');
