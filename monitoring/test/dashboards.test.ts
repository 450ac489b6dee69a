import { expect, test } from 'bun:test';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Panel } from '@grafana/grafana-foundation-sdk/dashboard';
import { buildDashboards } from '../src/dashboards/index.ts';
import { fillIn, listQueries, listVariables, panelsOf } from '../src/queries.ts';
import { dashboardFolder, renderDashboards } from '../src/render.ts';

const dashboards = buildDashboards();
const panels = dashboards.flatMap((dashboard) =>
  panelsOf(dashboard).map((panel) => ({ name: `${dashboard.uid}: ${panel.title}`, panel })),
);
type Target = { readonly expr?: string; readonly rawSql?: string; readonly legendFormat?: string };
const targetsOf = ({ targets }: Panel) => (targets ?? []) as readonly Target[];

test('the JSON files are those that the code makes: bun run build:dashboards', () => {
  const files = new Map(
    readdirSync(dashboardFolder).map((name) => [name, readFileSync(join(dashboardFolder, name), 'utf8')]),
  );
  expect([...files.keys()].toSorted()).toEqual([...renderDashboards().keys()].toSorted());
  for (const [name, content] of renderDashboards()) expect(files.get(name) === content, name).toBe(true);
});

test('every dashboard has an address of its own, variables, links to the others and a span of time', () => {
  expect(new Set(dashboards.map(({ uid }) => uid)).size).toBe(dashboards.length);
  for (const { uid, title, description, tags, templating, links, time, refresh } of dashboards) {
    expect(uid).toMatch(/^lonetree-[a-z]+$/);
    expect({ title, description }).toEqual({
      title: expect.stringMatching(/^Lonetree: ./),
      description: expect.stringMatching(/\.$/),
    });
    expect(templating?.list?.map(({ name }) => name)).toEqual(['job', 'instance']);
    // All means all that have the dashboard's metric: `up` and `process_…` are of every target.
    expect(templating?.list?.some((one) => 'allValue' in one)).toBe(false);
    expect(links).toMatchObject([{ type: 'dashboards', tags }]);
    expect([time?.from, time?.to, refresh]).toEqual(['now-1h', 'now', '10s']);
  }
});

test.each(panels)('$name says what it shows, in which unit, and what is normal', ({ panel }) => {
  expect(panel.title).toMatch(/^[A-Z].*[^.]$/);
  expect(panel.description).toMatch(/^.{4,}\.$/s);
  expect(panel.fieldConfig?.defaults.unit).toBeTruthy();
  expect(['prometheus', 'postgresql']).toContain(panel.datasource?.uid ?? '');
  expect(targetsOf(panel).length).toBeGreaterThan(0);
  if (panel.type !== 'table')
    for (const { legendFormat } of targetsOf(panel)) expect(legendFormat).toBeTruthy();
});

test.each(panels)('$name asks what it should', ({ panel }) => {
  for (const { expr } of targetsOf(panel)) {
    if (expr === undefined) continue;
    // Counters only as rates; over the span that fits the picture, or a fixed one that the panel names.
    for (const [, counter] of expr.matchAll(/(\w+_total)\b/g))
      expect(expr).toMatch(new RegExp(`(rate|increase)\\(${counter}`));
    for (const [, span] of expr.matchAll(/\[([^\]]+)\]/g))
      expect(['$__rate_interval', '5m', '1h']).toContain(span as string);
    expect(expr).not.toMatch(/\bstation\b/);
    // What a dashboard's variables choose is what it shows.
    if (
      expr.includes('lonetree_') &&
      !/lonetree_(drift|event)/.test(expr) &&
      !expr.includes('partition) (lonetree_consumer')
    )
      expect(expr).toContain('job=~"$job", instance=~"$instance"');
  }
});

test('panels lie side by side and none over another', () => {
  for (const dashboard of dashboards) {
    const taken = new Set<string>();
    for (const { title, gridPos } of panelsOf(dashboard)) {
      const { x, y, w, h } = gridPos ?? { x: 0, y: 0, w: 0, h: 0 };
      expect({ title, fits: w > 0 && h > 0 && x + w <= 24 }).toEqual({ title, fits: true });
      for (let column = x; column < x + w; column += 1)
        for (let line = y; line < y + h; line += 1) {
          const place = `${column} ${line}`;
          expect({ dashboard: dashboard.uid, title, place, isFree: !taken.has(place) }).toEqual({
            dashboard: dashboard.uid,
            title,
            place,
            isFree: true,
          });
          taken.add(place);
        }
    }
  }
});

test('limits have colours that grow worse or better, never both', () => {
  const ranks: Record<string, number> = { green: 0, yellow: 1, orange: 2, red: 3 };
  for (const { name, panel } of panels) {
    const steps = panel.fieldConfig?.defaults.thresholds?.steps ?? [];
    const values = steps.slice(1).map(({ value }) => Number(value));
    expect({ name, values }).toEqual({ name, values: values.toSorted((a, b) => a - b) });
    for (const { color } of steps) expect(ranks[color]).toBeDefined();
  }
});

test('every query is listed: panels, variables and annotations', () => {
  const queries = listQueries();
  const targets = panels.reduce((sum, { panel }) => sum + targetsOf(panel).length, 0);
  const annotations = dashboards.reduce(
    (sum, dashboard) => sum + (dashboard.annotations?.list?.length ?? 0),
    0,
  );
  expect(annotations).toBeGreaterThan(0);
  expect(queries.length).toBe(targets + annotations);
  for (const { text } of queries) {
    expect(text).not.toBe('');
    expect(fillIn(text, { job: ['a'], instance: ['b'] })).not.toContain('$');
  }
  expect(listVariables().map(({ name, label }) => `${name} ${label}`)).toEqual(
    dashboards.flatMap(() => ['job job', 'instance instance']),
  );
});

test('All of a variable is each of its values, as a regular expression in a quoted string', () => {
  const text = 'up{job=~"$job", instance=~"$instance"}[$__rate_interval]';
  expect(fillIn(text, { job: ['a', 'b+'], instance: ['127.0.0.1:8080'] })).toBe(
    String.raw`up{job=~"(a|b\\+)", instance=~"(127\\.0\\.0\\.1:8080)"}[1m]`,
  );
});
