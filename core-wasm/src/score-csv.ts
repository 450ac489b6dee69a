// Scores the rows of a CSV and writes a verdict per row, in constant memory. Files and the terminal are the caller's.

import type { Block } from './block.ts';
import { CsvError, CsvReader } from './csv-reader.ts';
import type { Engine } from './engine.ts';

export type CsvScoring = {
  readonly engine: Engine;
  readonly input: AsyncIterable<Uint8Array>;
  /** Takes a piece of the output; the next one waits for it. */
  readonly write: (text: string) => Promise<void>;
  /** Told now and then what is done. */
  readonly report?: (done: CsvProgress) => void;
};
export type CsvProgress = {
  readonly rowCount: number;
  readonly anomalyCount: number;
  readonly byteCount: number;
};

export const outputHeader = 'row,score,decision,is_anomaly,reasons\n';

/** What a cell may hold instead of a number, in any case; infinities count as missing like every number beyond 3.4e38. */
export const missingSpellings = [
  '',
  'nan',
  'na',
  'null',
  'none',
  'inf',
  '+inf',
  '-inf',
  'infinity',
  '+infinity',
  '-infinity',
];
const missing = new Set(missingSpellings);

const blockRowCount = 4096;
const shownTextMax = 40;

/** Writes the header and one line per row. Throws CsvError with line, column and what to do. */
export async function scoreCsv({ engine, input, write, report }: CsvScoring): Promise<CsvProgress> {
  const reader = new CsvReader();
  const decoder = new TextDecoder();
  const block = new RowBlock(engine);
  let columns: Columns | null = null;
  let byteCount = 0;
  const flush = async () => {
    if (block.rowCount > 0) await write(block.score());
    report?.({ rowCount: block.doneCount, anomalyCount: block.anomalyCount, byteCount });
  };
  /** Goes through the complete records of a piece; scores whenever a block is full. */
  const take = async (piece: string, isLast: boolean) => {
    for (const cells of reader.read(piece, isLast)) {
      if (columns === null) {
        columns = findColumns(cells, engine.model.features, reader.line);
        continue;
      }
      if (cells.length !== columns.names.length) {
        if (cells.length === 1 && cells[0] === '') continue;
        throw new CsvError(
          reader.line,
          `It has ${cells.length} cells, but the header names ${columns.names.length} columns.`,
        );
      }
      block.add(cells, columns, reader.line);
      if (block.rowCount === blockRowCount) await flush();
    }
  };
  await write(outputHeader);
  for await (const bytes of input) {
    byteCount += bytes.length;
    await take(decoder.decode(bytes, { stream: true }), false);
  }
  await take(decoder.decode(), true);
  if (columns === null) throw new CsvError(1, 'The file is empty. Its first line must name the columns.');
  await flush();
  return { rowCount: block.doneCount, anomalyCount: block.anomalyCount, byteCount };
}

/** Where the model's features stand among the columns. */
type Columns = { readonly names: readonly string[]; readonly indices: readonly number[] };

function findColumns(header: readonly string[], features: readonly string[], line: number): Columns {
  const names = header.map((name) => name.trim());
  const indices = features.map((feature) => {
    const index = names.indexOf(feature);
    if (index < 0) {
      const has = names.map((name) => `"${shorten(name)}"`).slice(0, 20);
      const more = names.length > 20 ? ', …' : '';
      throw new CsvError(
        line,
        `The model needs the column "${feature}"; the header has ${has.join(', ')}${more}. Name the columns as the model does, separated by commas.`,
      );
    }
    if (names.indexOf(feature, index + 1) >= 0)
      throw new CsvError(line, `The column "${feature}" stands twice. Keep one.`);
    return index;
  });
  return { names, indices };
}

/** Rows on their way through the engine. */
class RowBlock {
  readonly #engine: Engine;
  readonly #values: Float32Array;
  readonly #width: number;
  rowCount = 0;
  doneCount = 0;
  anomalyCount = 0;

  constructor(engine: Engine) {
    this.#engine = engine;
    this.#width = engine.model.features.length;
    this.#values = new Float32Array(blockRowCount * this.#width);
  }

  add(cells: readonly string[], { names, indices }: Columns, line: number): void {
    const start = this.rowCount * this.#width;
    for (let feature = 0; feature < this.#width; feature += 1) {
      const column = indices[feature] as number;
      const value = parseNumber(cells[column] as string);
      if (value === null) {
        const where = `Column ${column + 1}, "${names[column]}"`;
        const text = shorten(cells[column] as string);
        throw new CsvError(
          line,
          `${where}: "${text}" is not a number. Write one, or leave the cell empty where it is missing.`,
        );
      }
      this.#values[start + feature] = value;
    }
    this.rowCount += 1;
  }

  /** The output's lines for the rows that were added; then begins anew. */
  score(): string {
    this.#engine.loadRows(this.#values, this.rowCount);
    const block = this.#engine.score();
    const lines = describe(block, this.doneCount, this.#engine.model.offset);
    this.doneCount += this.rowCount;
    this.anomalyCount += block.anomalyRows.length;
    this.rowCount = 0;
    return lines;
  }
}

function describe(block: Block, firstRow: number, offset: number): string {
  let lines = '';
  let anomaly = 0;
  for (let row = 0; row < block.rowCount; row += 1) {
    const score = block.scores[row] as number;
    const numbers = `${firstRow + row},${score.toPrecision(17)},${(score - offset).toPrecision(17)}`;
    if (block.anomalyRows[anomaly] === row) {
      lines += `${numbers},true,${quote(block.reasonsOf(anomaly).join('+'))}\n`;
      anomaly += 1;
    } else lines += `${numbers},false,\n`;
  }
  return lines;
}

const quote = (text: string) => (/[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text);

/** NaN where the cell says that the value is missing; null where it is no decimal number. */
export function parseNumber(text: string): number | null {
  const value = Number(text);
  // JavaScript takes a blank for 0, and reads 0x10, 0b1 and 0o7, which in a CSV are mistakes.
  if (!Number.isInteger(value) && Math.abs(value) < 3.4e38) return value;
  const trimmed = text.trim();
  if (missing.has(trimmed) || missing.has(trimmed.toLowerCase())) return Number.NaN;
  if (Number.isNaN(value) || /^0[xob]/i.test(trimmed)) return null;
  return Math.abs(value) < 3.4e38 ? value : Number.NaN;
}

const shorten = (text: string) => (text.length > shownTextMax ? `${text.slice(0, shownTextMax)}…` : text);
