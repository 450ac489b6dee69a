// docs/CONFIGURATION.md: every setting and every fixed limit, from the tables that the scorer itself uses.
import { boundsTable } from '../src/bounds.ts';
import { describeSettings } from '../src/config.ts';
import { code, table } from './markdown.ts';

export function describeConfiguration(): string {
  const settings = describeSettings().map(({ name, fallback, allowed, meaning }) => [
    code(name),
    code(fallback ?? ''),
    allowed ?? 'any text',
    meaning,
  ]);
  const limits = Object.entries(boundsTable).map(([name, { value, meaning }]) => [
    code(name),
    describeValue(name, value),
    meaning,
  ]);
  return `# Configuration of the scorer

Written by \`npx bun run build:docs\` from [\`config.ts\`](../scorer/src/config.ts) and [\`bounds.ts\`](../scorer/src/bounds.ts).

The scorer is set up by environment variables. All have a default or may be left out, and an empty one counts as left out.
What cannot be used ends the start with exit code 1 and a line per variable that says what is allowed.

${table(['variable', 'default', 'allowed', 'meaning'], settings)}

Relative defaults of files and folders are relative to the project's folder.

## Secrets

\`DATABASE_URL\`, \`ADMIN_TOKEN\` and \`KAFKA_SASL_PASSWORD\` may stand in a file that \`<NAME>_FILE\` names, as Docker's and
Kubernetes's secrets do: one line, whose line end is left out. Setting both is refused, and so is a file that cannot be read,
is empty or has more than one line.

No secret is logged: where one of these, or a password inside \`DATABASE_URL\` or \`MLFLOW_TRACKING_URI\`, would stand in a log
line, as part of an error for example, the line says \`[secret]\`. That holds for the bare text too: a password that is
an everyday word makes gaps in the log.

## Limits

These are no settings. They stand here because they say what to expect: how long something is waited for, and how much is
taken at once.

${table(['limit', 'value', 'meaning'], limits)}
`;
}

/** With the unit that the name ends in. */
function describeValue(name: string, value: number): string {
  if (name.endsWith('Ms')) return value % 1_000 === 0 ? `${value / 1_000} s` : `${value} ms`;
  if (/Size.*Max$/.test(name)) return describeSize(value);
  return value.toLocaleString('en');
}

function describeSize(size: number): string {
  if (size % (1 << 20) === 0) return `${size >> 20} MiB`;
  if (size % (1 << 10) === 0) return `${size >> 10} KiB`;
  return `${size.toLocaleString('en')} bytes`;
}
