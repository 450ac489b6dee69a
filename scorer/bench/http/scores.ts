// Before anything is timed: every server's scores are scikit-learn's.
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { runPython } from '@lonetree/devstack';
import type { Format, ModelServer } from './model-servers.ts';
import { type RequestReadings, toRows } from './readings.ts';

const features = ['temperature', 'humidity', 'sound'];
/** Scores lie between −1 and 0: two roundings of the exponential. */
const scoreTolerance = 2.3e-16;

/** Scores of all rows, one request after the other. */
export async function scoreByScikitLearn(
  requests: readonly RequestReadings[],
  { model, folder }: { readonly model: string; readonly folder: string },
): Promise<Float64Array> {
  const [rowsFile, scoresFile] = [join(folder, 'rows.f32'), join(folder, 'scores.f64')];
  writeFileSync(rowsFile, toRows(requests, features));
  await runPython([join(import.meta.dir, 'score-rows.py'), model, rowsFile, scoresFile]);
  return new Float64Array(Uint8Array.from(readFileSync(scoresFile)).buffer);
}

/** Answers the farthest distance; throws when it is beyond rounding. */
export async function compareScores(
  server: ModelServer,
  {
    format,
    requests,
    expected,
  }: {
    readonly format: Format;
    readonly requests: readonly RequestReadings[];
    readonly expected: Float64Array;
  },
): Promise<number> {
  let farthest = 0;
  let row = 0;
  for (const readings of requests) {
    const { body, contentType } = server.request(readings, format);
    const response = await fetch(server.url, {
      method: 'POST',
      headers: { 'content-type': contentType },
      body: new Uint8Array(body),
    });
    if (!response.ok) throw new Error(`${server.name} answered ${response.status}: ${await response.text()}`);
    const scores = server.scores(await response.json());
    const rowCount = readings.readings.length;
    if (scores.length !== rowCount)
      throw new Error(`${server.name} answered ${scores.length} scores for ${rowCount} readings`);
    for (const score of scores) {
      farthest = Math.max(farthest, Math.abs(score - (expected[row] as number)));
      row += 1;
    }
  }
  if (!(farthest <= scoreTolerance))
    throw new Error(`${server.name}: scores differ from scikit-learn's by ${farthest}`);
  return farthest;
}
