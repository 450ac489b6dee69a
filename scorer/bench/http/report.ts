// From the repetitions to the report: medians with their spread, as JSON and as a table, on the terminal or in a document.
import { median, spread } from '@lonetree/devstack';
import { connectionCount, type Load } from './load.ts';
import type { Format } from './model-servers.ts';

export type Repetition = Load & { readonly cpuMicrosecondsPerRequest: number };

/** Medians over the repetitions. */
export type Result = {
  readonly server: string;
  readonly format: Format;
  /** Readings in one request. */
  readonly rows: number;
  readonly requestsPerSecond: number;
  /** Of the requests a second: half the distance between the quartiles, over the median. */
  readonly spread: number;
  readonly p50Ms: number;
  readonly p99Ms: number;
  readonly cpuMicrosecondsPerRequest: number;
  readonly generatorCpu: number;
};

export type Report = {
  readonly machine: { readonly cpu: string; readonly cores: number; readonly platform: string };
  readonly versions: Readonly<Record<string, string>>;
  readonly load: {
    readonly connections: number;
    readonly seconds: number;
    readonly repetitions: number;
    readonly distinctReadings: number;
  };
  /** Before anything was timed: the farthest that any server's scores were from scikit-learn's. */
  readonly scoreDifferenceMax: number;
  readonly missing: readonly { readonly server: string; readonly why: string }[];
  readonly http: readonly Result[];
};

export function summarise(
  place: Pick<Result, 'server' | 'format' | 'rows'>,
  repetitions: readonly Repetition[],
): Result {
  const middle = (of: (repetition: Repetition) => number) =>
    Number(median(repetitions.map(of)).toPrecision(4));
  const rate = ({ requestsPerSecond }: Repetition) => requestsPerSecond;
  return {
    ...place,
    requestsPerSecond: middle(rate),
    spread: spread(repetitions.map(rate)),
    p50Ms: middle(({ p50Ms }) => p50Ms),
    p99Ms: middle(({ p99Ms }) => p99Ms),
    cpuMicrosecondsPerRequest: middle((repetition) => repetition.cpuMicrosecondsPerRequest),
    generatorCpu: middle(({ generatorCpu }) => generatorCpu),
  };
}

/** In Markdown, which a terminal shows as well. */
export function describe({ http, load, machine, versions, missing, scoreDifferenceMax }: Report): string {
  const number = (value: number) => value.toLocaleString('en', { maximumSignificantDigits: 4 });
  const row = (cells: readonly string[]) => `| ${cells.join(' | ')} |`;
  const rows = http.map((result) => {
    const ours = http.find(
      ({ server, format, rows: count }) =>
        server === 'lonetree' && format === result.format && count === result.rows,
    );
    const ratio =
      ours === undefined || ours === result
        ? ''
        : `${number(ours.requestsPerSecond / result.requestsPerSecond)}×`;
    return row([
      `${result.rows}, ${result.format === 'json' ? 'JSON' : 'Protobuf'}`,
      result.server,
      `${number(result.requestsPerSecond)} (±${(result.spread * 100).toFixed(0)} %)`,
      ratio,
      number(result.p50Ms),
      number(result.p99Ms),
      number(result.cpuMicrosecondsPerRequest),
    ]);
  });
  const list = Object.entries(versions).map(([name, version]) => `${name} ${version}`);
  return [
    row([
      'readings a request',
      'server',
      'requests/s',
      'lonetree is',
      'p50 ms',
      'p99 ms',
      'CPU µs a request',
    ]),
    row(['---', '---', '---:', '---:', '---:', '---:', '---:']),
    ...rows,
    '',
    `wrk with ${connectionCount} connections and one thread, distinct readings (${load.distinctReadings.toLocaleString('en')}) in turn, medians of`,
    `${load.repetitions} interleaved repetitions of ${load.seconds} s on ${machine.cores} cores of a ${machine.cpu}. Every server has one worker and the same`,
    `forest; scores differed from scikit-learn's by at most ${scoreDifferenceMax.toExponential(1)}. Latencies are as wrk counts them, each request from its own`,
    'sending: it waits for an answer before it sends the next, and corrects nothing for the requests that it held back meanwhile.',
    `Versions: ${list.join(', ')}.`,
    ...missing.map(({ server, why }) => `Missing: ${server} (${why}).`),
  ].join('\n');
}
