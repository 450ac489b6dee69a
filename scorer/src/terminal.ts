// What `bun run start` shows: abnormal readings as they come, and below them one line that says how it goes.
import type { AnomalyRecord } from './store.ts';

export type Terminal = {
  anomalies(anomalies: readonly AnomalyRecord[]): void;
  readings(count: number): void;
  line(text: string): void;
  stop(): void;
};

export type TerminalOptions = {
  readonly write: (text: string) => void;
  /** A status line that is written over, and colours. Otherwise plain lines. */
  readonly isInteractive: boolean;
  readonly useColour: boolean;
  readonly now: () => number;
};

const interactiveIntervalMs = 1_000;
const plainIntervalMs = 10_000;
/** More of one block would only scroll by: the rest is counted. */
const shownPerBlockMax = 10;
const eraseLine = '\r\x1b[2K';

export function createTerminal({ write, isInteractive, useColour, now }: TerminalOptions): Terminal {
  const startMs = now();
  let readingCount = 0;
  let anomalyCount = 0;
  let countAtTick = 0;
  let tickMs = startMs;
  let status = '';

  const colour = (code: number, text: string) => (useColour ? `\x1b[${code}m${text}\x1b[0m` : text);
  const line = (text: string) => write(isInteractive ? `${eraseLine}${text}\n${status}` : `${text}\n`);
  const total = () =>
    `${readingCount.toLocaleString('en')} readings, ${anomalyCount.toLocaleString('en')} abnormal`;

  const tick = () => {
    const rate = ((readingCount - countAtTick) * 1_000) / Math.max(1, now() - tickMs);
    countAtTick = readingCount;
    tickMs = now();
    const text = `${rate.toFixed(rate < 100 ? 1 : 0)} readings/s · ${total()}`;
    if (isInteractive) {
      status = colour(2, text);
      write(`${eraseLine}${status}`);
    } else {
      write(`${text}\n`);
    }
  };
  const timer = setInterval(tick, isInteractive ? interactiveIntervalMs : plainIntervalMs);

  return {
    anomalies(anomalies) {
      anomalyCount += anomalies.length;
      for (const anomaly of anomalies.slice(0, shownPerBlockMax)) line(describeAnomaly(anomaly, colour));
      if (anomalies.length > shownPerBlockMax)
        line(`… and ${anomalies.length - shownPerBlockMax} more in this block`);
    },
    readings(count) {
      readingCount += count;
    },
    line,
    stop() {
      clearInterval(timer);
      status = '';
      const seconds = ((now() - startMs) / 1_000).toFixed(0);
      line(`${total()} in ${seconds} s. They are kept: start again and it continues here.`);
    },
  };
}

export function describeAnomaly(
  anomaly: AnomalyRecord,
  colour: (code: number, text: string) => string = (_, text) => text,
): string {
  const { timeMs, station, features, values, score, severity, reasons } = anomaly;
  const suspects = new Set(reasons.map((reason) => reason.split(':')[1]));
  const described = features.map((name, index) => {
    const value = values[index] ?? null;
    const text = `${name} ${value === null ? 'missing' : value.toFixed(1)}`;
    return suspects.has(name) ? colour(1, text) : text;
  });
  return [
    colour(2, new Date(timeMs).toISOString().slice(11, 19)),
    colour(31, harmless(station).padEnd(12)),
    described.join('  '),
    `score ${score.toFixed(3)}`,
    severity === null ? '' : `severity ${severity.toFixed(1)}`,
    colour(33, reasons.join(' + ')),
  ]
    .filter((part) => part !== '')
    .join('  ');
}

/** Whoever sends readings names the stations: an escape sequence in a name must not reach the terminal. */
const harmless = (text: string) => text.replace(/\p{Cc}/gu, '�');
