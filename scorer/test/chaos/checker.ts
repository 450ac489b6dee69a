// Compares what was sent with what was stored and published: the producer's ledger, the topics, the tables.
import { readFileSync } from 'node:fs';
import { fromBinary } from '@bufbuild/protobuf';
import { AnomalySchema, DeadLetterSchema, SensorBatchSchema } from '@lonetree/proto';
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

type Stored = {
  readonly rows: number;
  readonly distinct: number;
  readonly last: number;
  readonly sum: number;
};

/** `ledgers` are files of `partition offset sequence readings`, separated by tabs. */
export async function compare(
  kafka: { readonly brokers: string },
  databaseUrl: string,
  ledgers: readonly string[],
): Promise<Comparison> {
  const sql = postgres(databaseUrl, { max: 1, onnotice() {} });
  const stored = new Map<string, Stored>();
  const rows =
    await sql`select partition, "offset", count(*)::int as rows, count(distinct row)::int as distinct, max(row) as last,
    sum(coalesce("values"[1], 0)::float8) as sum from prediction where topic = 'readings' group by 1, 2`;
  for (const { partition, offset, ...counts } of rows)
    stored.set(`${partition}-${offset}`, counts as unknown as Stored);
  const anomalyIds = new Set((await sql`select id from anomaly`).map(({ id }) => id as string));
  await sql.end();

  const bad = new Set<string>();
  const counts = { messages: 0, readings: 0, lost: 0, twice: 0, wrong: 0 };
  const places = new Set<string>();
  for (const { partition, offset, value } of await readTopic(kafka, 'readings')) {
    const place = `${partition}-${offset}`;
    places.add(place);
    counts.messages += 1;
    const values = decodeFirstColumn(value);
    if (values === null) {
      bad.add(place);
      continue;
    }
    counts.readings += values.length;
    const found = stored.get(place);
    if (found === undefined) counts.lost += values.length;
    else {
      counts.lost += values.length - found.distinct;
      counts.twice += found.rows - found.distinct;
      const sum = values.reduce((total, x) => total + (Number.isNaN(x) ? 0 : x), 0);
      if (found.last !== values.length - 1 || Math.abs(found.sum - sum) > 1e-6 * Math.abs(sum))
        counts.wrong += 1;
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

/** Null for what is no batch at all: such messages are sent on purpose. */
function decodeFirstColumn(value: Uint8Array): readonly number[] | null {
  try {
    return (
      fromBinary(SensorBatchSchema, value).columns.find(({ name }) => name === 'temperature')?.values ?? null
    );
  } catch {
    return null;
  }
}
