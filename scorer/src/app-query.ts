// What can be asked for of stored verdicts, and the cursor that leads from one page of them to the next.
import { z } from '@hono/zod-openapi';
import { parseIsoTime } from '@lonetree/proto/time';
import { Problem } from './app-problems.ts';
import type { AnomalyRecord, Cursor, PredictionRecord, ReadingQuery } from './store.ts';

/** All readings lie between these: beyond them answers stay the same, and not every database knows every year. */
const firstMs = Date.UTC(2000);
const endMs = Date.UTC(2101);

/** NaN for what is no time. */
const parseInstant = (text: string): number => (/^\d{1,16}$/.test(text) ? Number(text) : parseIsoTime(text));

const instant = z
  .string()
  .refine(
    (text) => !Number.isNaN(parseInstant(text)),
    'give a time as ISO 8601, for example 2026-11-23T12:00:00Z, or as milliseconds since 1970',
  )
  .transform((text) => Math.min(Math.max(parseInstant(text), firstMs), endMs));

export const querySchema = (rowsMax: number) => {
  const limitWanted = `give a whole number from 1 to ${rowsMax}`;
  const fields = {
    station: z
      .string()
      .min(1, 'give a name, or leave it out')
      .regex(/^[^\0]*$/, 'no name has a NUL character')
      .optional(),
    from: instant.optional().describe('inclusive; ISO 8601 or milliseconds since 1970'),
    to: instant.optional().describe('exclusive; ISO 8601 or milliseconds since 1970'),
    limit: z.coerce
      .number(limitWanted)
      .int(limitWanted)
      .min(1, limitWanted)
      .max(rowsMax, limitWanted)
      .default(100),
    cursor: z.string().optional().describe('`next` of the answer before'),
  };
  return z.strictObject(fields, {
    error: (issue) =>
      issue.code === 'unrecognized_keys'
        ? `there is no ${issue.keys.join(', ')}; there are ${Object.keys(fields).join(', ')}`
        : undefined,
  });
};
type Query = z.infer<ReturnType<typeof querySchema>>;

/** Throws a Problem when the cursor is not one of ours. */
export function toStoreQuery({ station, from, to, limit, cursor }: Query): ReadingQuery {
  return {
    limit,
    ...(station === undefined ? {} : { station }),
    ...(from === undefined ? {} : { fromMs: from }),
    ...(to === undefined ? {} : { toMs: to }),
    ...(cursor === undefined ? {} : { after: readCursor(cursor) }),
  };
}

const readingTime = z.int().min(firstMs).lt(endMs);
const cursorSchema = z.tuple([readingTime, z.int32(), z.string().regex(/^\d{1,18}$/), z.int32()]);

/** Null at the end of the list. Opaque to clients: only these two functions know what it is made of. */
export function nextCursor(
  rows: readonly (AnomalyRecord | PredictionRecord)[],
  limit: number,
): string | null {
  const last = rows.at(-1);
  if (last === undefined || rows.length < limit) return null;
  const place = [last.timeMs, last.partition, String(last.offset), last.row];
  return Buffer.from(JSON.stringify(place)).toString('base64url');
}

function readCursor(text: string): Cursor {
  try {
    const place = JSON.parse(Buffer.from(text, 'base64url').toString());
    const [timeMs, partition, offset, row] = cursorSchema.parse(place);
    return { timeMs, partition, offset: BigInt(offset), row };
  } catch {
    const detail = 'cursor: it is not one that an answer before named in `next`; begin without one.';
    throw new Problem(400, 'The query cannot be used', detail);
  }
}
