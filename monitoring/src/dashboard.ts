// What all dashboards have: variables for job and instance, links to one another, the same span of time.
import {
  AnnotationQueryBuilder,
  type Dashboard,
  DashboardBuilder,
  DashboardCursorSync,
  DashboardLinkBuilder,
  DashboardLinkType,
  QueryVariableBuilder,
  RowBuilder,
  VariableRefresh,
} from '@grafana/grafana-foundation-sdk/dashboard';
import { type Builder, type Panel, prometheus } from './panels.ts';

export type Row = { readonly title: string; readonly panels: readonly Builder<Panel>[] };

export type Annotation = { readonly name: string; readonly expr: string; readonly title: string };

export type Plan = {
  /** Its address in Grafana, and its file's name. */
  readonly uid: string;
  readonly title: string;
  readonly description: string;
  /** A metric of the jobs that it is about. */
  readonly metric: string;
  readonly rows: readonly Row[];
  readonly annotations?: readonly Annotation[];
};

const tag = 'lonetree';
/** What the variables choose, for every query. */
export const chosen = 'job=~"$job", instance=~"$instance"';

export function buildDashboard(plan: Plan): Dashboard {
  const builder = new DashboardBuilder(`Lonetree: ${plan.title}`)
    .uid(plan.uid)
    .description(plan.description)
    .tags([tag])
    .time({ from: 'now-1h', to: 'now' })
    .refresh('10s')
    .timezone('browser')
    .tooltip(DashboardCursorSync.Crosshair)
    .readonly()
    .link(
      new DashboardLinkBuilder('Other dashboards')
        .type(DashboardLinkType.Dashboards)
        .tags([tag])
        .asDropdown(true)
        .includeVars(false)
        .keepTime(true),
    )
    .withVariable(variable('job', 'Job', `label_values(${plan.metric}, job)`))
    .withVariable(variable('instance', 'Instance', `label_values(${plan.metric}{job=~"$job"}, instance)`));
  for (const { name, expr, title } of plan.annotations ?? [])
    builder.annotation(
      new AnnotationQueryBuilder()
        .name(name)
        .datasource(prometheus)
        .enable(true)
        .iconColor('purple')
        .expr(expr)
        .titleFormat(title),
    );
  for (const { title, panels } of plan.rows) {
    builder.withRow(new RowBuilder(title));
    for (const panel of panels) builder.withPanel(panel);
  }
  return builder.build();
}

const variable = (name: string, label: string, query: string) =>
  new QueryVariableBuilder(name)
    .label(label)
    .datasource(prometheus)
    .query(query)
    .multi(true)
    .includeAll(true)
    .refresh(VariableRefresh.OnTimeRangeChanged);
