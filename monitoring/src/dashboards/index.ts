// All dashboards, in the order in which one looks at them.
import type { Dashboard } from '@grafana/grafana-foundation-sdk/dashboard';
import { buildDashboard } from '../dashboard.ts';
import { anomalies } from './anomalies.ts';
import { health } from './health.ts';
import { kafka } from './kafka.ts';
import { models } from './models.ts';
import { postgresql } from './postgresql.ts';
import { scoring } from './scoring.ts';

export const buildDashboards = (): readonly Dashboard[] =>
  [scoring, anomalies, models, kafka, postgresql, health].map(buildDashboard);
