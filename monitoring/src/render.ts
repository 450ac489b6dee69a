// The dashboards as files.
import { join } from 'node:path';
import { buildDashboards } from './dashboards/index.ts';

export const dashboardFolder = join(import.meta.dir, '..', 'grafana', 'dashboards');

/** File names and contents, the same bytes every time. */
export const renderDashboards = (): ReadonlyMap<string, string> =>
  new Map(
    buildDashboards().map((dashboard) => [
      `${dashboard.uid}.json`,
      `${JSON.stringify(dashboard, null, 2)}\n`,
    ]),
  );
