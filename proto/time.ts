// Times as people and programs write them in text.

const iso =
  /^(?<date>(?:\d{4}|[+-]\d{6})-\d{2}-\d{2})(?:[T ](?<time>\d{2}:\d{2}(?::\d{2}(?:[.,]\d+)?)?)(?<zone>Z|[+-]\d{2}(?::?\d{2})?)?)?$/i;

/**
 * Milliseconds since 1970 of a day, or of a day and a time, in ISO 8601; NaN for what is none. Without a zone it is UTC, and
 * never the zone of the machine that happens to read it. (`Date.parse` alone would take "5" for a month.)
 */
export function parseIsoTime(text: string): number {
  const { date, time = '00:00', zone = 'Z' } = iso.exec(text)?.groups ?? {};
  if (date === undefined) return Number.NaN;
  const dayMs = Date.parse(`${date}T00:00Z`);
  // The parser itself takes the 30th of February for the 2nd of March.
  if (Number.isNaN(dayMs) || !new Date(dayMs).toISOString().startsWith(date)) return Number.NaN;
  const minutes = /^[+-]\d{2}$/.test(zone) ? ':00' : '';
  return Date.parse(`${date}T${time.replace(',', '.')}${zone.toUpperCase()}${minutes}`);
}
