// Line charts as SVG with logarithmic axes, readable in light and in dark, with a text alternative. Pure.

export type Series = {
  readonly name: string;
  /** In ascending order of x; both above 0. */
  readonly points: readonly { readonly x: number; readonly y: number }[];
  readonly isDashed?: boolean;
  readonly hasDots?: boolean;
};

export type Tick = { readonly at: number; readonly label: string };

export type Chart = {
  readonly title: string;
  /** What the lines say, for those who do not see them. */
  readonly description: string;
  readonly xLabel: string;
  readonly yLabel: string;
  readonly xTicks: readonly Tick[];
  readonly series: readonly Series[];
};

const WIDTH = 640;
const HEIGHT = 400;
const PLOT = { left: 76, right: 24, top: 16, bottom: 64 } as const;
const LEGEND_ROW = 24;
const LEGEND_COLUMNS = 3;
const COLOUR_COUNT = 6;

export function drawChart(chart: Chart): string {
  const xs = chart.series
    .flatMap(({ points }) => points.map(({ x }) => x))
    .concat(chart.xTicks.map(({ at }) => at));
  const ys = chart.series.flatMap(({ points }) => points.map(({ y }) => y));
  const [bottom, top] = [
    10 ** Math.floor(Math.log10(Math.min(...ys))),
    10 ** Math.ceil(Math.log10(Math.max(...ys))),
  ];
  const x = scale(Math.min(...xs), Math.max(...xs), PLOT.left, WIDTH - PLOT.right);
  const y = scale(bottom, Math.max(top, bottom * 10), HEIGHT - PLOT.bottom, PLOT.top);
  const height = HEIGHT + LEGEND_ROW * Math.ceil(chart.series.length / LEGEND_COLUMNS);
  const id = chart.title.toLowerCase().replaceAll(/[^a-z]+/g, '-');
  return [
    `<svg viewBox="0 0 ${WIDTH} ${height}" role="img" aria-labelledby="${id}-title ${id}-description">`,
    `<title id="${id}-title">${escapeHtml(chart.title)}</title>`,
    `<desc id="${id}-description">${escapeHtml(chart.description)}</desc>`,
    ...decades(bottom, Math.max(top, bottom * 10)).map((value) => horizontalLine(y(value), value)),
    ...chart.xTicks.map(({ at, label }) => verticalLine(x(at), label)),
    `<text class="label" x="${(PLOT.left + WIDTH - PLOT.right) / 2}" y="${HEIGHT - 20}" text-anchor="middle">${escapeHtml(chart.xLabel)}</text>`,
    `<text class="label" transform="translate(18 ${(PLOT.top + HEIGHT - PLOT.bottom) / 2}) rotate(-90)" text-anchor="middle">${escapeHtml(chart.yLabel)}</text>`,
    ...chart.series.map((series, index) => drawSeries(series, index, x, y)),
    ...chart.series.map(drawLegend),
    '</svg>',
  ].join('\n');
}

type Scale = (value: number) => number;

function scale(from: number, to: number, start: number, end: number): Scale {
  const [low, high] = [Math.log10(from), Math.log10(to)];
  return (value) =>
    Number((start + ((Math.log10(value) - low) / (high - low || 1)) * (end - start)).toFixed(1));
}

function decades(from: number, to: number): readonly number[] {
  const count = Math.round(Math.log10(to / from)) + 1;
  return Array.from({ length: count }, (_, index) => from * 10 ** index);
}

/** 1, 2 and 5 of each power of ten that lie between. */
export function logTicks(from: number, to: number): readonly Tick[] {
  const ticks: Tick[] = [];
  for (let decade = 10 ** Math.floor(Math.log10(from)); decade <= to; decade *= 10) {
    for (const step of [1, 2, 5]) {
      const at = decade * step;
      if (at >= from && at <= to) ticks.push({ at, label: at.toLocaleString('en') });
    }
  }
  return ticks;
}

function horizontalLine(y: number, value: number): string {
  const label = Number(value.toPrecision(6)).toLocaleString('en', { maximumFractionDigits: 4 });
  return (
    `<line class="grid" x1="${PLOT.left}" x2="${WIDTH - PLOT.right}" y1="${y}" y2="${y}"/>` +
    `<text class="tick" x="${PLOT.left - 8}" y="${y + 4}" text-anchor="end">${label}</text>`
  );
}

function verticalLine(x: number, label: string): string {
  return (
    `<line class="grid" x1="${x}" x2="${x}" y1="${PLOT.top}" y2="${HEIGHT - PLOT.bottom}"/>` +
    `<text class="tick" x="${x}" y="${HEIGHT - PLOT.bottom + 18}" text-anchor="middle">${escapeHtml(label)}</text>`
  );
}

function drawSeries({ points, isDashed, hasDots }: Series, index: number, x: Scale, y: Scale): string {
  const places = points.map((point) => `${x(point.x)},${y(point.y)}`);
  const dash = isDashed === true ? ' stroke-dasharray="7 5"' : '';
  const line = `<polyline class="line c${index % COLOUR_COUNT}" points="${places.join(' ')}"${dash}/>`;
  if (hasDots !== true) return line;
  const dots = points.map(
    (point) => `<circle class="dot c${index % COLOUR_COUNT}" cx="${x(point.x)}" cy="${y(point.y)}" r="3.5"/>`,
  );
  return line + dots.join('');
}

function drawLegend({ name, isDashed }: Series, index: number): string {
  const column = (WIDTH - PLOT.left) / LEGEND_COLUMNS;
  const x = PLOT.left + (index % LEGEND_COLUMNS) * column;
  const y = HEIGHT + LEGEND_ROW * Math.floor(index / LEGEND_COLUMNS) + 14;
  const dash = isDashed === true ? ' stroke-dasharray="7 5"' : '';
  return (
    `<polyline class="line c${index % COLOUR_COUNT}" points="${x},${y - 4} ${x + 28},${y - 4}"${dash}/>` +
    `<text class="legend" x="${x + 36}" y="${y}">${escapeHtml(name)}</text>`
  );
}

export function escapeHtml(text: string): string {
  return text
    .replaceAll('&', '&amp;')
    .replaceAll('<', '&lt;')
    .replaceAll('>', '&gt;')
    .replaceAll('"', '&quot;');
}
