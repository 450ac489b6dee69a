// Compares what was sent with what was stored and published: the producer's ledger, the topics, the tables.
// Every message of the topic is scored again, one at a time, and its rows must be what the scorers stored.
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fromBinary } from '@bufbuild/protobuf';
import { type Block, Engine } from '@lonetree/core-wasm';
import { AnomalySchema, DeadLetterSchema } from '@lonetree/proto';
import postgres from 'postgres';
import { readTopic } from './topic-reader.ts';

export type Comparison = {
  readonly messages: number;
  readonly readings: number;
  /** Acknowledged messages that the topic has not. */
  readonly ledgerMissing: number;
  readonly lost: number;
  readonly twice: number;
  readonly phantom: number;
  /** Messages whose stored times, values, stations, scores or verdicts are others. */
  readonly wrong: number;
  readonly anomalies: number;
  readonly anomaliesMissing: number;
  readonly anomaliesPhantom: number;
  /** Published more than once, which readers drop by id. */
  readonly anomaliesRepeated: number;
  readonly deadLetters: number;
  readonly deadLettersMissing: number;
  readonly deadLettersPhantom: number;
};

export const flawCount = (c: Comparison): number =>
  c.ledgerMissing +
  c.lost +
  c.twice +
  c.phantom +
  c.wrong +
  c.anomaliesMissing +
  c.anomaliesPhantom +
  c.deadLettersMissing +
  c.deadLettersPhantom;

/** What a message's rows come to; sums are weighted by the row, so that rows that changed places show. */
type Summary = {
  readonly first: number;
  readonly last: number;
  readonly times: number;
  readonly values: number;
  readonly missing: number;
  readonly scores: number;
  readonly abnormal: number;
  readonly station: string;
};
type Stored = Summary & {
  readonly rows: number;
  readonly distinct: number;
  /** SHA-256 of the model that scored the message; more than one, joined, where there is a fault. */
  readonly models: string;
};

const shippedForest = join(import.meta.dir, '..', '..', '..', 'models', 'default.forest');
/** Sums are added in another order by the database. */
const sumTolerance = 1e-9;

const storedSummaries = `select partition, "offset", count(*)::int as rows, count(distinct row)::int as distinct,
  min(row) as first, max(row) as last,
  sum((row + 1) * extract(epoch from time) * 1000)::float8 as times,
  sum((row + 1) * (coalesce("values"[1], 0)::float8 + 2 * coalesce("values"[2], 0)::float8 + 3 * coalesce("values"[3], 0)::float8)) as values,
  sum(cardinality(array_positions("values", null)))::int as missing,
  sum((row + 1) * score) as scores, (count(*) filter (where is_anomaly))::int as abnormal,
  min(station) || '-' || max(station) as station,
  (select string_agg(sha256, '+') from model where id between min(model_id) and max(model_id)) as models
  from prediction where topic = 'readings' group by 1, 2`;

function summarize(block: Block): Summary {
  const stations: string[] = [];
  const sums = { times: 0, values: 0, missing: 0, scores: 0 };
  for (let row = 0; row < block.rowCount; row += 1) {
    stations.push(block.station(row));
    sums.times += (row + 1) * (block.times[row] as number);
    sums.scores += (row + 1) * (block.scores[row] as number);
    for (let feature = 0; feature < block.featureCount; feature += 1) {
      const value = block.values[row * block.valueStride + feature] as number;
      if (Number.isNaN(value)) sums.missing += 1;
      else sums.values += (row + 1) * (feature + 1) * value;
    }
  }
  const [first, last] = [stations.toSorted()[0], stations.toSorted().at(-1)];
  return {
    ...sums,
    first: 0,
    last: block.rowCount - 1,
    abnormal: block.anomalyRows.length,
    station: `${first}-${last}`,
  };
}

function isSame(a: Summary, b: Summary): boolean {
  const isClose = (x: number, y: number) => Math.abs(x - y) <= sumTolerance * Math.max(1, Math.abs(x));
  return (
    a.first === b.first &&
    a.last === b.last &&
    a.missing === b.missing &&
    a.abnormal === b.abnormal &&
    a.station === b.station &&
    isClose(a.times, b.times) &&
    isClose(a.values, b.values) &&
    isClose(a.scores, b.scores)
  );
}

/**
 * `ledgers` are files of `partition offset sequence readings`, separated by tabs. `forests` are forest files by their SHA-256,
 * where more than one was used; otherwise it is the shipped one.
 */
export async function compare(
  kafka: { readonly brokers: string },
  databaseUrl: string,
  ledgers: readonly string[],
  forests?: ReadonlyMap<string, Uint8Array>,
): Promise<Comparison> {
  const sql = postgres(databaseUrl, { max: 1, onnotice() {} });
  const stored = new Map<string, Stored>();
  for (const { partition, offset, ...summary } of await sql.unsafe(storedSummaries))
    stored.set(`${partition}-${offset}`, summary as unknown as Stored);
  const storedIds = (await sql`select id from anomaly`).map(({ id }) => id as string);
  const anomalyIds = new Set(storedIds);
  await sql.end();

  const shipped = await Engine.load(readFileSync(shippedForest));
  const engines = new Map<string, Engine>();
  for (const [sha256, forest] of forests ?? []) engines.set(sha256, await Engine.load(forest));
  const engineOf = (found: Stored | undefined) => {
    if (forests === undefined || found === undefined) return shipped;
    const engine = engines.get(found.models);
    if (engine === undefined) throw new Error(`a message was scored by ${found.models}, which nobody named`);
    return engine;
  };
  const bad = new Set<string>();
  const counts = { messages: 0, readings: 0, lost: 0, twice: storedIds.length - anomalyIds.size, wrong: 0 };
  const places = new Set<string>();
  const expectedIds = new Set<string>();
  for (const { partition, offset, value } of await readTopic(kafka, 'readings')) {
    const place = `${partition}-${offset}`;
    places.add(place);
    counts.messages += 1;
    const found = stored.get(place);
    const engine = engineOf(found);
    engine.begin();
    if (!('rowCount' in engine.append(value))) {
      bad.add(place); // Such messages are sent on purpose.
      continue;
    }
    const block = engine.score();
    counts.readings += block.rowCount;
    for (const row of block.anomalyRows) expectedIds.add(`readings-${place}-${row}`);
    if (found === undefined) counts.lost += block.rowCount;
    else {
      counts.lost += block.rowCount - found.distinct;
      counts.twice += found.rows - found.distinct;
      if (found.rows === block.rowCount && !isSame(found, summarize(block))) counts.wrong += 1;
    }
  }
  const ledger = ledgers.flatMap((file) =>
    readFileSync(file, 'utf8')
      .trim()
      .split('\n')
      .filter((line) => line !== ''),
  );
  const published = (await readTopic(kafka, 'anomalies')).map(
    ({ value }) => fromBinary(AnomalySchema, value).id,
  );
  const letters = new Set(
    (await readTopic(kafka, 'readings.dead-letter')).map(({ value }) => {
      const letter = fromBinary(DeadLetterSchema, value);
      return `${letter.partition}-${letter.offset}`;
    }),
  );
  const publishedIds = new Set(published);
  const count = <T>(items: Iterable<T>, isCounted: (item: T) => boolean) =>
    [...items].filter(isCounted).length;
  return {
    ...counts,
    wrong: counts.wrong + expectedIds.symmetricDifference(anomalyIds).size,
    ledgerMissing: count(ledger, (line) => !places.has(line.split('\t').slice(0, 2).join('-'))),
    phantom: count(stored.keys(), (place) => !places.has(place) || bad.has(place)),
    anomalies: anomalyIds.size,
    anomaliesMissing: count(anomalyIds, (id) => !publishedIds.has(id)),
    anomaliesPhantom: count(publishedIds, (id) => !anomalyIds.has(id)),
    anomaliesRepeated: published.length - publishedIds.size,
    deadLetters: letters.size,
    deadLettersMissing: count(bad, (place) => !letters.has(place)),
    deadLettersPhantom: count(letters, (place) => !bad.has(place)),
  };
}
