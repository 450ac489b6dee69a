// Which documents are generated from the code, and by what.
import { describeConfiguration } from './configuration.ts';
import { describeMetrics } from './metrics.ts';

export const references = [
  { file: 'docs/CONFIGURATION.md', describe: () => Promise.resolve(describeConfiguration()) },
  { file: 'docs/METRICS.md', describe: describeMetrics },
] as const;
