// report.html: one file that explains itself, with charts inside. Pure.
import type { LatencyHistogram } from './histogram.ts';
import type { MeasuredStep } from './measure.ts';
import { type Chart, drawChart, escapeHtml, logTicks, type Series, type Tick } from './report-chart.ts';
import {
  describeOthers,
  objectiveTable,
  processTable,
  saturationTable,
  stepTable,
  type Table,
} from './report-table.ts';
import type { Results, Step } from './results.ts';

const STYLE = `
:root { color-scheme: light dark; --ink: #1c2026; --quiet: #57606a; --grid: #dfe3e8; --paper: #ffffff; --bad: #b3261e; --good: #1a7f37;
  --c0: #0a5cc2; --c1: #b4470a; --c2: #1a7f37; --c3: #8a3ffc; --c4: #9f1853; --c5: #006d75; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6e9ee; --quiet: #a3acb8; --grid: #323a45; --paper: #14181e; --bad: #ff8a80;
  --good: #6fdd8b; --c0: #6cb0ff; --c1: #ffa25e; --c2: #6fdd8b; --c3: #c4a1ff; --c4: #ff8fc0; --c5: #5fd6de; } }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 1240px; padding: 24px; background: var(--paper); color: var(--ink); font: 16px/1.5 system-ui, sans-serif; }
h1 { margin: 0 0 4px; font-size: 28px; } h2 { margin: 40px 0 8px; font-size: 21px; } h3 { margin: 16px 0 4px; font-size: 16px; }
p { max-width: 78ch; } .quiet { color: var(--quiet); } code { font-size: 14px; overflow-wrap: anywhere; }
.verdict { font-size: 19px; font-weight: 600; } .met { color: var(--good); } .missed { color: var(--bad); font-weight: 600; }
.charts { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 520px), 1fr)); gap: 24px; }
.scroll { overflow-x: auto; } table { border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: 14px; }
th, td { padding: 5px 10px; border-bottom: 1px solid var(--grid); text-align: right; white-space: nowrap; }
th { vertical-align: bottom; white-space: normal; } th:first-child, td:first-child { text-align: left; }
svg { width: 100%; height: auto; font: 14px system-ui, sans-serif; }
.grid { stroke: var(--grid); } .tick { fill: var(--quiet); font-size: 13px; } .label, .legend { fill: var(--ink); }
.line { fill: none; stroke-width: 2.5; stroke-linejoin: round; }
${[0, 1, 2, 3, 4, 5].map((index) => `.line.c${index} { stroke: var(--c${index}); } .dot.c${index} { fill: var(--c${index}); }`).join('\n')}
`;

export function renderReport(results: Results, measured: readonly MeasuredStep[]): string {
  const batchSizes = [...new Set(measured.map(({ step }) => step.batchSize))];
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Lonetree load test, ${escapeHtml(results.startedAt.slice(0, 10))}</title>
<style>${STYLE}</style>
</head>
<body>
<main>
<h1>Load test</h1>
<p class="quiet">${escapeHtml(results.startedAt)} · ${escapeHtml(results.machine)} · ${escapeHtml(results.stack)}<br>
<code>${escapeHtml(results.command)}</code></p>
${renderVerdict(results)}
${renderCaution(results)}<p>Messages were sent at times fixed beforehand, whatever the answers were. Latency counts from the time at which a message was
<em>due to leave</em> until a query saw its readings stored, so a stalled system cannot hide the messages that it kept waiting.
Each figure is at most as much too long as one look at the database was after the one before
(${escapeHtml(describeResolution(results.steps))}), and never too short.</p>
${results.objectives.length === 0 ? '' : `<h2>Objectives</h2>\n${renderTable(objectiveTable(results))}`}
${batchSizes.map((batchSize) => renderBatch(batchSize, measured)).join('\n')}
<h2>All steps</h2>
${renderTable(stepTable(results))}
<p class="quiet">“anomaly”: from the scheduled time until a subscriber of the topic of anomalies had it. “late”: how long after its
scheduled time a message was handed to the network; it is part of the latency. “lag”: messages that Kafka had and the database
had not. A rate near or above saturation makes a queue, whose length, not the system's speed, is then what latency shows.</p>
<h2>Saturation</h2>
${renderTable(saturationTable(results))}
<p class="quiet">A burst without a schedule: the rate at which the backlog was stored once it was sent.</p>
<h2>Processes</h2>
${renderTable(processTable(results))}
<p class="quiet">CPU in percent of one core, from the first message to the last stored one; memory at most, what processes of one server
share counted once. “All others” is what does not belong to the test: the more of it, the longer the latencies.</p>
</main>
</body>
</html>
`;
}

function renderVerdict({ failures, steps, saturations }: Results): string {
  const readings = steps.reduce((sum, step) => sum + step.readings, 0);
  const burst = saturations.reduce((sum, { messages, batchSize }) => sum + messages * batchSize, 0);
  const count = (readings + burst).toLocaleString('en');
  if (failures.length === 0) {
    return `<p class="verdict met">Passed: ${count} readings, none lost, none stored twice.</p>`;
  }
  const items = failures.map((failure) => `<li>${escapeHtml(failure)}</li>`).join('');
  return `<p class="verdict missed">Failed, with ${count} readings:</p><ul class="missed">${items}</ul>`;
}

function renderCaution(results: Results): string {
  const caution = describeOthers(results);
  return caution === null ? '' : `<p>${escapeHtml(caution)}</p>\n`;
}

function describeResolution(steps: readonly Step[]): string {
  if (steps.length === 0) return 'no step was run';
  const p50 = Math.max(...steps.map(({ resolution }) => resolution.p50Ms));
  const p99 = Math.max(...steps.map(({ resolution }) => resolution.p99Ms));
  return `half of the time below ${p50.toFixed(1)} ms, 99 % below ${p99.toFixed(1)} ms, in the worst step`;
}

function renderTable(table: Table): string {
  const [titles = [], ...rows] = table;
  const head = titles.map((title) => `<th scope="col">${escapeHtml(title)}</th>`).join('');
  const body = rows.map(
    (row) =>
      `<tr>${row.map((cell) => (cell === 'met' || cell === 'missed' ? `<td class="${cell}">${cell}</td>` : `<td>${escapeHtml(cell)}</td>`)).join('')}</tr>`,
  );
  return `<div class="scroll"><table><thead><tr>${head}</tr></thead><tbody>\n${body.join('\n')}\n</tbody></table></div>`;
}

function renderBatch(batchSize: number, measured: readonly MeasuredStep[]): string {
  const ofBatch = measured
    .filter(({ step, latency }) => step.batchSize === batchSize && latency.count > 0)
    .sort((a, b) => a.step.targetRate - b.step.targetRate);
  if (ofBatch.length === 0) return '';
  const size =
    batchSize === 1 ? '1 reading a message' : `${batchSize.toLocaleString('en')} readings a message`;
  const charts = [
    percentileChart(size, ofBatch),
    rateChart(
      size,
      ofBatch.map(({ step }) => step),
    ),
  ];
  const figures = charts.map(
    (chart) => `<div><h3>${escapeHtml(chart.title)}</h3>\n${drawChart(chart)}</div>`,
  );
  return `<h2>${escapeHtml(size)}</h2>\n<div class="charts">\n${figures.join('\n')}\n</div>`;
}

const PERCENTILE_TICKS = [0, 50, 90, 99, 99.9, 99.99, 99.999];
const POINTS_PER_DECADE = 24;
/** A percentile beyond which fewer than so many messages lie says nothing. */
const TAIL_MESSAGES_MIN = 2;

function percentileChart(size: string, measured: readonly MeasuredStep[]): Chart {
  const largest = Math.max(...measured.map(({ latency }) => latency.count / TAIL_MESSAGES_MIN));
  const ticks: Tick[] = PERCENTILE_TICKS.filter(
    (percentile) => oneIn(percentile) <= Math.max(10, largest),
  ).map((percentile) => ({ at: oneIn(percentile), label: percentile === 0 ? 'all' : `p${percentile}` }));
  return {
    title: `Latency by percentile, ${size}`,
    description: describeSteps(measured.map(({ step }) => step)),
    xLabel: 'percentile of messages',
    yLabel: 'latency, milliseconds',
    xTicks: ticks,
    series: measured.map(({ step, latency }): Series => {
      const rate = `${Math.round(step.targetRate).toLocaleString('en')} messages/s`;
      return { name: rate, points: percentilePoints(latency) };
    }),
  };
}

function percentilePoints(latency: LatencyHistogram): Series['points'] {
  const decades = Math.log10(Math.max(2, latency.count / TAIL_MESSAGES_MIN));
  const count = Math.floor(decades * POINTS_PER_DECADE) + 1;
  return Array.from({ length: count }, (_, index) => {
    const x = 10 ** (index / POINTS_PER_DECADE);
    return { x, y: latency.atPercentile((1 - 1 / x) * 100) };
  });
}

function oneIn(percentile: number): number {
  return 1 / (1 - percentile / 100);
}

function rateChart(size: string, steps: readonly Step[]): Chart {
  const rates = steps.map(({ targetRate }) => targetRate);
  const line = (name: string, value: (step: Step) => number): Series => ({
    name,
    hasDots: true,
    points: steps.map((step) => ({ x: step.targetRate, y: value(step) })),
  });
  const anomalous = steps.filter(({ anomaly }) => anomaly.count > 0);
  const anomalyLine: Series = {
    name: 'p50 to the anomaly',
    isDashed: true,
    hasDots: true,
    points: anomalous.map(({ targetRate, anomaly }) => ({ x: targetRate, y: anomaly.p50Ms })),
  };
  return {
    title: `Latency against rate, ${size}`,
    description: describeSteps(steps),
    xLabel: 'messages per second',
    yLabel: 'latency, milliseconds',
    xTicks: logTicks(Math.min(...rates) / 1.2, Math.max(...rates) * 1.2),
    series: [
      line('p50', ({ p50Ms }) => p50Ms),
      line('p99', ({ p99Ms }) => p99Ms),
      line('p99.9', ({ p999Ms }) => p999Ms),
      ...(anomalous.length === 0 ? [] : [anomalyLine]),
    ],
  };
}

function describeSteps(steps: readonly Step[]): string {
  return steps
    .map(({ name, p50Ms, p99Ms, p999Ms }) => {
      const [p50, p99, p999] = [p50Ms, p99Ms, p999Ms].map((value) => value.toFixed(2));
      return `${name}: median ${p50} ms, 99 % below ${p99} ms, 99.9 % below ${p999} ms.`;
    })
    .join(' ');
}
