// The panels that dashboards are made of: one look for all, and each with a unit and a description.
import type { Builder } from '@grafana/grafana-foundation-sdk/cog';
import {
  BigValueColorMode,
  BigValueGraphMode,
  GraphThresholdsStyleConfigBuilder,
  GraphThresholdsStyleMode,
  LegendDisplayMode,
  LegendPlacement,
  ReduceDataOptionsBuilder,
  StackingConfigBuilder,
  StackingMode,
  TooltipDisplayMode,
  VisibilityMode,
  VizLegendOptionsBuilder,
  VizTooltipOptionsBuilder,
} from '@grafana/grafana-foundation-sdk/common';
import {
  type Panel,
  ThresholdsConfigBuilder,
  ThresholdsMode,
} from '@grafana/grafana-foundation-sdk/dashboard';
import { PanelBuilder as HeatmapBuilder } from '@grafana/grafana-foundation-sdk/heatmap';
import { DataqueryBuilder, PromQueryFormat } from '@grafana/grafana-foundation-sdk/prometheus';
import { PanelBuilder as StatBuilder } from '@grafana/grafana-foundation-sdk/stat';
import { PanelBuilder as TableBuilder } from '@grafana/grafana-foundation-sdk/table';
import { PanelBuilder as TimeseriesBuilder } from '@grafana/grafana-foundation-sdk/timeseries';

export type { Builder, Panel };

export const prometheus = { type: 'prometheus', uid: 'prometheus' } as const;
export const postgresql = { type: 'grafana-postgresql-datasource', uid: 'postgresql' } as const;

/** A query and what its lines are called: `{{label}}` stands for the label's value. */
export type Query = readonly [expr: string, legend: string];

/** From each value on another colour; below the first it is green. */
export type Limits = readonly (readonly [value: number, color: 'yellow' | 'orange' | 'red' | 'green'])[];

type Look = {
  readonly title: string;
  /** What is normal, and what to do when it is not. */
  readonly description: string;
  /** As Grafana names units. */
  readonly unit: string;
  readonly width?: number;
  readonly limits?: Limits;
  /** Colour below the first limit. */
  readonly base?: 'green' | 'red';
};

const height = 8;
const statHeight = 4;
const fullWidth = 24;

const thresholds = ({ limits = [], base = 'green' }: Look) =>
  new ThresholdsConfigBuilder()
    .mode(ThresholdsMode.Absolute)
    .steps([{ value: null, color: base }, ...limits.map(([value, color]) => ({ value, color }))]);

const query = ([expr, legend]: Query, index: number) =>
  new DataqueryBuilder()
    .datasource(prometheus)
    .refId(String.fromCharCode('A'.charCodeAt(0) + index))
    .expr(expr)
    .legendFormat(legend);

/** Lines over time. */
export function lines(
  look: Look & { readonly queries: readonly Query[]; readonly isStacked?: boolean; readonly max?: number },
): Builder<Panel> {
  const panel = new TimeseriesBuilder()
    .title(look.title)
    .description(look.description)
    .datasource(prometheus)
    .unit(look.unit)
    .min(0)
    .span(look.width ?? fullWidth / 2)
    .height(height)
    .lineWidth(2)
    .fillOpacity(look.isStacked === true ? 30 : 6)
    .showPoints(VisibilityMode.Never)
    .legend(
      new VizLegendOptionsBuilder()
        .showLegend(true)
        .displayMode(LegendDisplayMode.List)
        .placement(LegendPlacement.Bottom)
        .calcs(['lastNotNull']),
    )
    .tooltip(new VizTooltipOptionsBuilder().mode(TooltipDisplayMode.Multi))
    .thresholds(thresholds(look));
  if (look.limits !== undefined)
    panel.thresholdsStyle(new GraphThresholdsStyleConfigBuilder().mode(GraphThresholdsStyleMode.Dashed));
  if (look.isStacked === true) panel.stacking(new StackingConfigBuilder().mode(StackingMode.Normal));
  if (look.max !== undefined) panel.max(look.max);
  for (const [index, given] of look.queries.entries()) panel.withTarget(query(given, index).range());
  return panel;
}

/** One number, the latest, with its colour by the limits. */
export function number(look: Look & { readonly query: Query }): Builder<Panel> {
  return new StatBuilder()
    .title(look.title)
    .description(look.description)
    .datasource(prometheus)
    .unit(look.unit)
    .span(look.width ?? fullWidth / 6)
    .height(statHeight)
    .graphMode(BigValueGraphMode.Area)
    .colorMode(BigValueColorMode.Value)
    .reduceOptions(new ReduceDataOptionsBuilder().calcs(['lastNotNull']))
    .thresholds(thresholds(look))
    .withTarget(query(look.query, 0).range());
}

/** A histogram over time, from a query by `le`. */
export function heatmap(look: Look & { readonly expr: string }): Builder<Panel> {
  return new HeatmapBuilder()
    .title(look.title)
    .description(look.description)
    .datasource(prometheus)
    .unit(look.unit)
    .span(look.width ?? fullWidth / 2)
    .height(height)
    .withTarget(query([look.expr, '{{le}}'], 0).range().format(PromQueryFormat.Heatmap));
}

/** Rows that SQL finds in Lonetree's database. */
export function rows(look: Omit<Look, 'unit'> & { readonly sql: string }): Builder<Panel> {
  return new TableBuilder()
    .title(look.title)
    .description(look.description)
    .datasource(postgresql)
    .unit('none')
    .span(look.width ?? fullWidth)
    .height(height)
    .withTarget(sqlQuery(look.sql));
}

/** The SDK has no builder for it. */
function sqlQuery(rawSql: string): Builder<SqlQuery> {
  return {
    build: () => ({
      refId: 'A',
      datasource: postgresql,
      rawSql,
      rawQuery: true,
      editorMode: 'code',
      format: 'table',
      _implementsDataqueryVariant: () => {},
    }),
  };
}
export type SqlQuery = {
  readonly refId: string;
  readonly datasource: typeof postgresql;
  readonly rawSql: string;
  readonly rawQuery: true;
  readonly editorMode: 'code';
  readonly format: 'table';
  _implementsDataqueryVariant(): void;
};
