// The run as tables: for the terminal, and the same as Markdown. Pure.
import type { Results, Step } from './results.ts';

/** Titles first; all cells are text. */
export type Table = readonly (readonly string[])[];

export function stepTable({ steps }: Results): Table {
  const titles = [
    'readings a message',
    'messages/s',
    'achieved',
    'rows/s',
    'p50 ms',
    'p90 ms',
    'p99 ms',
    'p99.9 ms',
    'max ms',
    'anomaly p50 ms',
    'anomaly p99 ms',
    'late p99 ms',
    'lag at most',
    'lost',
    'twice',
  ];
  return [titles, ...steps.map(stepRow)];
}

function stepRow(step: Step): readonly string[] {
  const anomaly = (milliseconds: number) => (step.anomaly.count === 0 ? '–' : milliseconds.toFixed(2));
  return [
    whole(step.batchSize),
    whole(step.targetRate),
    whole(step.achievedRate),
    whole(step.rowsPerSecond),
    ...[step.p50Ms, step.p90Ms, step.p99Ms, step.p999Ms, step.maxMs].map((value) => value.toFixed(2)),
    anomaly(step.anomaly.p50Ms),
    anomaly(step.anomaly.p99Ms),
    step.lateness.p99Ms.toFixed(2),
    whole(step.lagPeakMessages),
    whole(step.lost),
    whole(step.duplicate),
  ];
}

export function saturationTable({ saturations, baseline }: Results): Table {
  return [
    ['readings a message, at saturation', 'messages/s', 'rows/s', 'bound by', 'lost', 'twice'],
    ...saturations.map(({ batchSize, messagesPerSecond, rowsPerSecond, hadBacklog, lost, duplicate }) => [
      whole(batchSize),
      whole(messagesPerSecond),
      whole(rowsPerSecond),
      hadBacklog ? 'storing' : 'sending',
      whole(lost),
      whole(duplicate),
    ]),
    ...(baseline === null
      ? []
      : [
          [
            '1, the usual design',
            baseline.rowsPerSecond.toFixed(1),
            baseline.rowsPerSecond.toFixed(1),
            '–',
            '–',
            '–',
          ],
        ]),
  ];
}

export function objectiveTable({ objectives }: Results): Table {
  return [
    ['objective', 'wanted', 'measured', ''],
    ...objectives.map(({ what, limit, measured, isMet }) => [
      what,
      limit,
      measured,
      isMet ? 'met' : 'missed',
    ]),
  ];
}

/** CPU in percent of one core and memory at most, of each process, in each part of the run. */
export function processTable({ saturations, steps }: Results): Table {
  const parts = [
    ...saturations.map((part) => ({ ...part, name: `saturation, ${whole(part.batchSize)} a message` })),
    ...steps,
  ];
  const names = [...new Set(parts.flatMap(({ processes }) => Object.keys(processes)))];
  return [
    ['part', ...names.map((name) => `${name}: CPU %, MB`), 'all others: CPU %'],
    ...parts.map(({ name, processes, othersCpuPercent }) => [
      name,
      ...names.map((process) => {
        const usage = processes[process];
        return usage === undefined ? '–' : `${usage.cpuPercent}, ${whole(usage.peakMb)}`;
      }),
      othersCpuPercent === null ? '–' : whole(othersCpuPercent),
    ]),
  ];
}

/** A share of the machine's cores below which other programs are not worth a word, in percent of one core. */
const OTHERS_WORTH_SAYING_PERCENT = 25;

/** How much of the machine the test did not have to itself, if that was much. */
export function describeOthers({ saturations, steps }: Results): string | null {
  const percents = [...saturations, ...steps]
    .map(({ othersCpuPercent }) => othersCpuPercent ?? 0)
    .sort((a, b) => a - b);
  const median = percents[percents.length >> 1] ?? 0;
  if (median < OTHERS_WORTH_SAYING_PERCENT) return null;
  const cores = (percent: number) => (percent / 100).toFixed(1);
  return `Other programs took ${cores(median)} cores in half of the steps or more, at most ${cores(percents.at(-1) ?? 0)}: latencies are longer and rates lower than on a machine of its own.`;
}

/** Columns of equal width; the first is text, the others end where numbers end. */
export function toText(table: Table): string {
  const widths =
    table[0]?.map((_, column) => Math.max(...table.map((row) => row[column]?.length ?? 0))) ?? [];
  return table
    .map((row) =>
      row
        .map((cell, column) =>
          column === 0 ? cell.padEnd(widths[column] ?? 0) : cell.padStart(widths[column] ?? 0),
        )
        .join('  ')
        .trimEnd(),
    )
    .join('\n');
}

export function toMarkdown(table: Table): string {
  const line = (cells: readonly string[]) =>
    `| ${cells.map((cell) => cell.replaceAll('|', '\\|')).join(' | ')} |`;
  const [titles = [], ...rows] = table;
  const rule = titles.map((_, column) => (column === 0 ? '---' : '---:'));
  return [titles, rule, ...rows].map(line).join('\n');
}

/** What goes into a document: where, how, and the tables. */
export function reportMarkdown(results: Results): string {
  return [
    `\`${results.command}\`, ${results.startedAt.slice(0, 10)}, ${results.machine}:`,
    toMarkdown(stepTable(results)),
    toMarkdown(saturationTable(results)),
    ...(results.objectives.length === 0 ? [] : [toMarkdown(objectiveTable(results))]),
    toMarkdown(processTable(results)),
    ...[describeOthers(results)].filter((caution) => caution !== null),
  ].join('\n\n');
}

function whole(value: number): string {
  return Math.round(value).toLocaleString('en');
}
