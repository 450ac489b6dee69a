// `bun run build:dashboards`: writes the dashboards as the JSON that Grafana reads.
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { takeNoArguments } from '@lonetree/devstack';
import { dashboardFolder, renderDashboards } from './render.ts';

takeNoArguments('bun run build:dashboards\n\nWrites the dashboards as the JSON that Grafana reads.');
mkdirSync(dashboardFolder, { recursive: true });
for (const [name, content] of renderDashboards()) writeFileSync(join(dashboardFolder, name), content);
