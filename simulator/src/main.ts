// `bun run simulator`: puts source and destination together, shows progress, and ends with one line of
// JSON.
import { closeSync, openSync, writeSync } from 'node:fs';
import { systemClock } from './clock.ts';
import { createCsvPublisher } from './csv-publisher.ts';
import { HELP } from './help.ts';
import { createHttpPublisher } from './http-publisher.ts';
import { createKafkaPublisher, type LedgerEntry } from './kafka-publisher.ts';
import { createLabelFile, createLabelTopic, type LabelSink } from './labels.ts';
import { type Command, parseCommand, UsageError } from './options.ts';
import { type Publish, pace } from './pace.ts';
import type { Publisher } from './publisher.ts';
import { replay } from './replay.ts';
import { runSimulator, type SimulatorSummary } from './run.ts';

async function main(): Promise<number> {
  let command: Command | 'help';
  try {
    command = parseCommand(process.argv.slice(2), process.env);
  } catch (cause) {
    if (!(cause instanceof UsageError)) throw cause;
    process.stderr.write(`simulator: ${cause.message}\nSee bun run simulator --help\n`);
    return 2;
  }
  if (command === 'help') {
    process.stdout.write(HELP);
    return 0;
  }
  const stop = new AbortController();
  // Once: a second signal ends the process at once.
  for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => stop.abort());
  try {
    return await runCommand(command, stop.signal);
  } catch (cause) {
    process.stderr.write(`simulator: ${cause instanceof Error ? cause.message : String(cause)}\n`);
    return 1;
  }
}

async function runCommand(command: Command, stop: AbortSignal): Promise<number> {
  const signal =
    command.durationMs === undefined
      ? stop
      : AbortSignal.any([stop, AbortSignal.timeout(command.durationMs)]);
  const ledger = openLedger(command);
  const sinks = await openLabelSinks(command, signal);
  const publisher = await openPublisher(command, signal, ledger?.write);
  const progress = showProgress(publisher);
  const publish: Publish = async (messages) => {
    await publisher.publish(messages);
    for (const { readingCount } of messages) progress.add(readingCount);
  };
  let summary: SimulatorSummary;
  try {
    summary = await run(command, publish, sinks, signal);
  } finally {
    await publisher.close();
    progress.end();
    ledger?.close();
    for (const sink of sinks) await sink.close();
  }
  return report(summary, publisher);
}

async function run(
  { source, batchSize, readingCountMax }: Command,
  publish: Publish,
  sinks: readonly LabelSink[],
  signal: AbortSignal,
): Promise<SimulatorSummary> {
  const end = readingCountMax === undefined ? {} : { readingCountMax };
  if ('fleet' in source) {
    return runSimulator({
      ...source.fleet,
      ...end,
      batchSize,
      publish,
      signal,
      onLabels: (labels) => {
        for (const sink of sinks) sink.write(labels);
      },
    });
  }
  const { isShiftedToNow, ...options } = source.replay;
  const shift = isShiftedToNow ? { firstTimeMs: Date.now() } : {};
  const startedMs = systemClock.nowMs();
  const messages = replay({ ...options, ...end, ...shift, batchSize });
  const isPaced = options.speed !== null;
  const paced = await pace(messages, { publish, clock: systemClock, signal, isPaced });
  return { ...paced, faultCounts: null, durationMs: systemClock.nowMs() - startedMs };
}

async function openPublisher(
  { destination, brokers }: Command,
  signal: AbortSignal,
  onAcknowledged?: (entries: readonly LedgerEntry[]) => void,
): Promise<Publisher> {
  switch (destination.to) {
    case 'http':
      return createHttpPublisher({
        url: destination.url,
        clock: systemClock,
        signal,
        onUnreachable: (line) => console.error(line),
      });
    case 'csv':
      return createCsvPublisher(destination.file);
    case 'kafka': {
      const { topic } = destination;
      return createKafkaPublisher({ brokers, topic, signal, ...(onAcknowledged && { onAcknowledged }) });
    }
  }
}

async function openLabelSinks(
  { labelsFile, labelsTopic, brokers }: Command,
  signal: AbortSignal,
): Promise<LabelSink[]> {
  const sinks: LabelSink[] = [];
  if (labelsFile !== null) sinks.push(createLabelFile(labelsFile));
  if (labelsTopic !== null) sinks.push(await createLabelTopic({ brokers, topic: labelsTopic, signal }));
  return sinks;
}

type Ledger = { readonly write: (entries: readonly LedgerEntry[]) => void; readonly close: () => void };

/** Tab-separated: partition, offset, sequence, readings. */
function openLedger({ destination }: Command): Ledger | null {
  if (destination.to !== 'kafka' || destination.ledgerFile === null) return null;
  const descriptor = openSync(destination.ledgerFile, 'w');
  return {
    write(entries) {
      const lines = entries.map((entry) =>
        [entry.partition, entry.offset, entry.sequence, entry.readingCount].join('\t'),
      );
      writeSync(descriptor, `${lines.join('\n')}\n`);
    },
    close: () => closeSync(descriptor),
  };
}

const PROGRESS_INTERVAL_MS = 500;

function showProgress({ delivery }: Publisher): { add(readingCount: number): void; end(): void } {
  let readingCount = 0;
  if (!process.stderr.isTTY) return { add: () => {}, end: () => {} };
  const startedMs = systemClock.nowMs();
  const show = (): void => {
    const seconds = Math.max(0.001, (systemClock.nowMs() - startedMs) / 1_000);
    const rate = Math.round(readingCount / seconds).toLocaleString('en');
    const problems = describeProblems(delivery);
    const failed = problems === '' ? '' : ` · ${problems}`;
    process.stderr.write(`\r\x1b[K${readingCount.toLocaleString('en')} readings · ${rate}/s${failed}`);
  };
  const timer = setInterval(show, PROGRESS_INTERVAL_MS);
  return {
    add(count) {
      readingCount += count;
    },
    end() {
      clearInterval(timer);
      show();
      process.stderr.write('\n');
    },
  };
}

function report(summary: SimulatorSummary, { delivery }: Publisher): number {
  const { messageCount, readingCount, faultCounts, durationMs, latenessMaxMs, latenessMeanMs } = summary;
  const seconds = round(durationMs / 1_000);
  const line = {
    messages: messageCount,
    readings: readingCount,
    acknowledged: delivery.acknowledgedMessages,
    failed: delivery.failedMessages,
    failedReadings: delivery.failedReadings,
    unconfirmed: delivery.unconfirmedMessages,
    unconfirmedReadings: delivery.unconfirmedReadings,
    faults: faultCounts,
    seconds,
    readingsPerSecond: Math.round(readingCount / Math.max(0.001, seconds)),
    latenessMaxMs: round(latenessMaxMs),
    latenessMeanMs: round(latenessMeanMs),
  };
  process.stdout.write(`${JSON.stringify(line)}\n`);
  const problems = describeProblems(delivery);
  if (problems === '') return 0;
  process.stderr.write(`simulator: ${problems}, the last one: ${delivery.lastError}\n`);
  return 1;
}

/** Empty when everything has arrived. */
function describeProblems({ failedMessages, unconfirmedMessages }: Publisher['delivery']): string {
  const failed = failedMessages === 0 ? [] : [`${failedMessages} messages failed`];
  const unconfirmed =
    unconfirmedMessages === 0
      ? []
      : [`${unconfirmedMessages} messages may or may not have arrived and were not sent again`];
  return [...failed, ...unconfirmed].join(', ');
}

function round(value: number): number {
  return Math.round(value * 1_000) / 1_000;
}

process.exit(await main());
