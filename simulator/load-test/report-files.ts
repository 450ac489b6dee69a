// Writes what a load test leaves behind.
import { accessSync, constants, mkdirSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { UsageError } from '../src/options.ts';
import type { MeasuredStep } from './measure.ts';
import { renderReport } from './report-html.ts';
import type { Results } from './results.ts';

/** Makes the folder, and removes an earlier run's percentiles: better told before measuring than after that it cannot be. */
export function prepareFolder(folder: string): void {
  try {
    mkdirSync(folder, { recursive: true });
    accessSync(folder, constants.W_OK);
  } catch (cause) {
    throw new UsageError(`--out ${folder} cannot be written to (${(cause as Error).message})`, { cause });
  }
  for (const name of readdirSync(folder)) if (name.endsWith('.hgrm')) rmSync(join(folder, name));
}

export function writeReports(folder: string, results: Results, measured: readonly MeasuredStep[]): void {
  writeFileSync(join(folder, 'results.json'), `${JSON.stringify(results, null, 2)}\n`);
  writeFileSync(join(folder, 'report.html'), renderReport(results, measured));
  for (const { step, latency, anomalyLatency } of measured) {
    const name = `${step.batchSize}-a-message-${Math.round(step.targetRate)}-a-second`;
    writeFileSync(join(folder, `${name}.hgrm`), latency.hgrm());
    if (anomalyLatency.count > 0)
      writeFileSync(join(folder, `${name}.anomalies.hgrm`), anomalyLatency.hgrm());
  }
}
