import { expect, test } from 'bun:test';
import { parse } from 'csv-parse/sync';
import { CsvError, CsvReader, recordSizeMax } from '../src/csv-reader.ts';
import { createRandom, type Random } from './random.ts';

/** All records with the lines they begin at, or the error; the text comes in pieces. */
function readAll(pieces: readonly string[]) {
  const reader = new CsvReader();
  const records: string[][] = [];
  const lines: number[] = [];
  for (const [index, piece] of [...pieces, ''].entries()) {
    for (const record of reader.read(piece, index === pieces.length)) {
      records.push(record);
      lines.push(reader.line);
    }
  }
  return { records, lines };
}

function cut(text: string, random: Random): string[] {
  const pieces: string[] = [];
  for (let at = 0; at < text.length; ) {
    const size = 1 + random.below(random.pick([2, 10, 100]));
    pieces.push(text.slice(at, at + size));
    at += size;
  }
  return pieces;
}

function drawCell(random: Random): string {
  const plain = Array.from({ length: random.below(6) }, () =>
    random.pick(['1', '.', 'é', ' ', '-', '站']),
  ).join('');
  if (random.chance(0.6)) return plain;
  const content = Array.from({ length: random.below(6) }, () =>
    random.pick(['""', ',', '\n', '\r\n', 'x', '\r']),
  ).join('');
  return `"${content}"`;
}

test('reads what csv-parse reads, wherever the text is cut into pieces', () => {
  for (let seed = 1; seed <= 3000; seed += 1) {
    const random = createRandom(seed);
    const lineBreak = random.pick(['\n', '\r\n']);
    const lines = Array.from({ length: 1 + random.below(6) }, () =>
      Array.from({ length: 1 + random.below(4) }, () => drawCell(random)).join(','),
    );
    const text = lines.join(lineBreak) + (random.chance(0.5) ? lineBreak : '');
    const expected = parse(text, { relax_column_count: true, record_delimiter: ['\n', '\r\n'] });
    expect({ seed, text, records: readAll(cut(text, random)).records }).toEqual({
      seed,
      text,
      records: expected,
    });
  }
});

test('counts lines, also inside quoted cells', () => {
  expect(readAll(['a,b\n1,"x\ny\r\n"\n\n2,3\r\n"4",5'])).toEqual({
    records: [['a', 'b'], ['1', 'x\ny\r\n'], [''], ['2', '3'], ['4', '5']],
    lines: [1, 2, 5, 6, 7],
  });
});

const mistakes: [text: string, line: number, message: RegExp][] = [
  ['a\n1\n"2', 3, /quoted cell is not closed/],
  ['a\n"1"2\n', 2, /follows the quote/],
  ['a\n1"2"\n', 2, /quote stands inside a cell/],
  ['a\n"1\n2",3"\n4', 2, /quote stands inside a cell/],
  [`a\n"${'x'.repeat(recordSizeMax)}\n`, 2, /longer than 1048576 characters/],
  [`a\n${'x'.repeat(recordSizeMax + 1)}`, 2, /longer than 1048576 characters/],
];

for (const [text, line, message] of mistakes) {
  test(`refuses ${JSON.stringify(text.slice(0, 20))}, naming its line`, () => {
    let error: unknown;
    try {
      readAll([text]);
    } catch (thrown) {
      error = thrown;
    }
    expect(error).toBeInstanceOf(CsvError);
    expect(error).toMatchObject({ line, message: expect.stringMatching(message) });
  });
}
