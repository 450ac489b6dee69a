// Writes what a load test leaves behind.
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { MeasuredStep } from './measure.ts';
import { renderReport } from './report-html.ts';
import type { Results } from './results.ts';

export function writeReports(folder: string, results: Results, measured: readonly MeasuredStep[]): void {
  mkdirSync(folder, { recursive: true });
  writeFileSync(join(folder, 'results.json'), `${JSON.stringify(results, null, 2)}\n`);
  writeFileSync(join(folder, 'report.html'), renderReport(results, measured));
  for (const { step, latency, anomalyLatency } of measured) {
    const name = `${step.batchSize}-a-message-${Math.round(step.targetRate)}-a-second`;
    writeFileSync(join(folder, `${name}.hgrm`), latency.hgrm());
    if (anomalyLatency.count > 0)
      writeFileSync(join(folder, `${name}.anomalies.hgrm`), anomalyLatency.hgrm());
  }
}
