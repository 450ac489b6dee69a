// Writes what a load test leaves behind.
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { UsageError } from '../src/options.ts';
import { replaceMarkedPart } from './marked-part.ts';
import type { MeasuredStep } from './measure.ts';
import { renderReport } from './report-html.ts';
import { reportMarkdown } from './report-table.ts';
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

const MARK = 'load-test';

/** Throws when there is no such document or it has no marks: better said before an hour of load than after it. */
export function checkMarkdown(file: string): void {
  try {
    replaceMarkedPart(readFileSync(file, 'utf8'), MARK, '');
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message : String(cause);
    throw new UsageError(`--markdown ${file} cannot be rewritten: ${reason}`, { cause });
  }
}

/** Puts the tables between the document's marks. */
export function writeMarkdown(file: string, results: Results): void {
  writeFileSync(file, replaceMarkedPart(readFileSync(file, 'utf8'), MARK, reportMarkdown(results)));
}
