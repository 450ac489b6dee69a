// What was measured, as tables: for the terminal and for docs/BENCHMARKS.md.
import type { KernelResult } from './kernel.ts';
import type { DecodeResult, WholeWay } from './messages.ts';
import type { PauseResult } from './pause.ts';

export type Report = {
  readonly machine: { readonly cpu: string; readonly cores: number; readonly platform: string };
  readonly versions: Readonly<Record<string, string>>;
  /** Why a peer was not measured, or an engine does not fit a forest. */
  readonly missing: Readonly<Record<string, string>>;
  readonly repetitions: number;
  readonly kernel: readonly KernelResult[];
  readonly decode: readonly DecodeResult[];
  /** By engine. */
  readonly messages: readonly (WholeWay & { readonly name: string; readonly features: number })[];
  readonly pause: readonly PauseResult[];
};

export type Target = {
  readonly what: string;
  readonly unit: '×' | 'µs' | 'ms' | '%';
  readonly goal: number;
  /** Absent when a part of it was not measured. */
  readonly measured?: number;
};

const engineNames = ['cells', 'grid', 'walk'];
const onnxNames = ['onnxruntime-single', 'onnxruntime-skl2onnx'];
type Place = { readonly features?: number; readonly size?: string; readonly batch: number };

/** The figures that the design is held to. */
export function targetsOf({ kernel, decode, messages, pause }: Report): Target[] {
  const times = (names: readonly string[], { features = 3, size = '100 × 256', batch }: Place) =>
    kernel
      .filter((result) => names.includes(result.name) && result.features === features)
      .filter((result) => result.batch === batch && `${result.trees} × ${result.samples}` === size)
      .map(({ nsPerRow }) => nsPerRow);
  const fastest = (names: readonly string[], place: Place) => {
    const found = times(names, place);
    return found.length === 0 ? undefined : Math.min(...found);
  };
  const ratio = (
    what: string,
    goal: number,
    [slow, fast]: [readonly string[], readonly string[]],
    place: Place,
  ) => {
    const [of, by] = [fastest(slow, place), fastest(fast, place)];
    return {
      what,
      unit: '×',
      goal,
      ...(of === undefined || by === undefined ? {} : { measured: of / by }),
    } as const;
  };
  const small = { batch: 1_000 };
  const large = { batch: 65_536 };
  const decoded = decode.find(({ name, rows }) => name === 'wasm' && rows === 1_000)?.nsPerRow;
  const scored = fastest(engineNames, small);
  const share =
    decoded === undefined || scored === undefined ? {} : { measured: (100 * decoded) / (decoded + scored) };
  const p50 = (rows: number) => {
    const us = messages.find((message) => message.rows === rows && message.features === 3)?.p50Us;
    return us === undefined ? {} : { measured: us };
  };
  return [
    ratio('best engine vs scikit-learn, 1,000 rows', 50, [['sklearn'], engineNames], small),
    ratio('best engine vs scikit-learn, 65,536 distinct rows', 20, [['sklearn'], engineNames], large),
    ratio('best engine vs best onnxruntime, 1,000 rows', 20, [onnxNames, engineNames], small),
    ratio('best engine vs best onnxruntime, 65,536 distinct rows', 16, [onnxNames, engineNames], large),
    ratio('best engine vs tl2cgen, 1,000 rows', 12, [['tl2cgen'], engineNames], small),
    ...(
      [
        [3, 4.2],
        [6, 3.2],
        [10, 2.2],
        [21, 1.5],
      ] as const
    ).map(([features, goal]) =>
      ratio(`cells vs walk, ${features} features`, goal, [['walk'], ['cells']], { features, ...small }),
    ),
    ...(
      [
        ['200 × 512', 3.5],
        ['300 × 1024', 2.2],
        ['1000 × 256', 2.1],
      ] as const
    ).map(([size, goal]) =>
      ratio(`cells vs walk, 3 features, ${size}`, goal, [['walk'], ['cells']], { size, ...small }),
    ),
    ratio('cells vs the same design in C', 0.8, [['c-cells'], ['cells']], small),
    ratio('walk vs the same design in C', 0.68, [['c-walk'], ['walk']], small),
    ratio('walk vs best onnxruntime', 3.5, [onnxNames, ['walk']], small),
    { what: 'Protobuf bytes → scores, 1 row, p50', unit: 'µs', goal: 1, ...p50(1) },
    { what: 'Protobuf bytes → scores, 64 rows, p50', unit: 'µs', goal: 16, ...p50(64) },
    ...[100, 1_000].map((trees): Target => {
      const what = `longest pause of scoring while a model of ${trees} × 256 is loaded`;
      const result = pause.find((one) => one.trees === trees);
      const measured = result && Math.max(result.first.maxMs, result.next.maxMs);
      return { what, unit: 'ms', goal: 5, ...(measured === undefined ? {} : { measured }) };
    }),
    { what: 'share of decoding in decoding and scoring, 1,000 rows', unit: '%', goal: 10, ...share },
  ];
}

/** Ratios have to reach their goal, times and shares must not exceed it. */
const isMet = ({ unit, goal, measured }: Target) =>
  measured !== undefined && (unit === '×' ? measured >= goal : measured <= goal);

const table = (head: readonly string[], lines: readonly (readonly string[])[]) => [
  `| ${head.join(' | ')} |`,
  `| --- |${' ---: |'.repeat(head.length - 1)}`,
  ...lines.map((cells) => `| ${cells.join(' | ')} |`),
];

const number = (value: number) => value.toLocaleString('en', { maximumSignificantDigits: 3 });

export function toMarkdown(report: Report): string {
  const { machine, versions, missing, repetitions, kernel, decode, messages, pause } = report;
  const forests = [...new Set(kernel.map(forestOf))];
  return [
    `${machine.cpu}, ${machine.cores} cores, ${machine.platform}; one thread each. Medians of ${repetitions} interleaved`,
    'repetitions, ± half the distance between the quartiles. Every sum of ours was compared with scikit-learn’s first.',
    '',
    ...table(
      ['figure', 'at least', 'measured', ''],
      targetsOf(report).map((target) => [
        target.what,
        target.unit === '×' ? `${target.goal}×` : `≤ ${target.goal} ${target.unit}`,
        target.measured === undefined ? 'not measured' : `${number(target.measured)} ${target.unit}`,
        isMet(target) ? 'met' : 'missed',
      ]),
    ),
    ...forests.flatMap((forest) => ['', `Nanoseconds a row, ${forest}:`, '', ...forestTable(kernel, forest)]),
    '',
    'Decoding, nanoseconds a reading:',
    '',
    ...table(
      ['decoder', 'readings a message', 'bytes a message', 'ns a reading'],
      decode.map(({ name, rows, size, nsPerRow, spread }) => [
        name,
        number(rows),
        size.toLocaleString('en'),
        timeOf({ nsPerRow, spread }),
      ]),
    ),
    '',
    'From a message’s bytes to scores and verdicts, microseconds a message:',
    '',
    ...table(
      ['engine', 'features', 'readings a message', 'p50', 'p99'],
      messages.map(({ name, features, rows, p50Us, p99Us }) => [
        name,
        number(features),
        number(rows),
        number(p50Us),
        number(p99Us),
      ]),
    ),
    '',
    'The longest pause of scoring while a model is loaded and its tables are built, milliseconds from the end of one block of 64',
    'readings to the end of the next, median and maximum over processes: the *first* model of the process, which has to score',
    'already while its tables are built; the *next* one, loaded beside it; *nothing*, for as long as the next one took.',
    '',
    ...table(
      ['model', 'loads', ...['first', 'next', 'nothing'].flatMap((name) => [`${name}: median`, 'maximum'])],
      pause.map(({ trees, samples, loads, first, next, idle }) => [
        `${trees} trees × ${samples}`,
        String(loads),
        ...[first, next, idle].flatMap(({ medianMs, maxMs }) => [number(medianMs), number(maxMs)]),
      ]),
    ),
    '',
    `Versions: ${Object.entries(versions)
      .map(([name, version]) => `${name} ${version}`)
      .join('; ')}.`,
    ...Object.entries(missing).map(([name, reason]) => `Missing: ${name} (${reason}).`),
  ].join('\n');
}

const forestOf = ({ features, trees, samples }: KernelResult) =>
  `${features} features, ${trees} trees × ${samples}`;

const timeOf = ({ nsPerRow, spread }: { readonly nsPerRow: number; readonly spread: number }) =>
  `${number(nsPerRow)} ± ${(spread * 100).toFixed(0)} %`;

function forestTable(kernel: readonly KernelResult[], forest: string): string[] {
  const results = kernel.filter((result) => forestOf(result) === forest);
  const batches = [...new Set(results.map(({ batch }) => batch))];
  const names = [...new Set(results.map(({ name }) => name))];
  return table(
    ['rows a call', ...batches.map((batch) => batch.toLocaleString('en'))],
    names.map((name) => [
      name,
      ...batches.map((batch) => {
        const result = results.find((candidate) => candidate.name === name && candidate.batch === batch);
        return result === undefined ? '–' : timeOf(result);
      }),
    ]),
  );
}
