import { expect, test } from 'bun:test';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { openMarkedPart } from './marks.ts';

const replaced = (text: string, ...contents: string[]) => {
  const folder = mkdtempSync(join(tmpdir(), 'lonetree-marks-'));
  const file = join(folder, 'a.md');
  try {
    writeFileSync(file, text);
    const replace = openMarkedPart(file, 'x');
    for (const content of contents) replace(content);
    return readFileSync(file, 'utf8');
  } finally {
    rmSync(folder, { recursive: true });
  }
};

test('only what stands between the marks is replaced, whatever it contains, and again', () => {
  const text = 'a\n<!-- x:begin -->\nold\n<!-- x:end -->\nb $& <!-- y:begin -->\n';
  expect(replaced(text, 'first', '\nnew $& $1\n')).toBe(
    'a\n<!-- x:begin -->\n\nnew $& $1\n\n<!-- x:end -->\nb $& <!-- y:begin -->\n',
  );
});

test.each([
  '',
  '<!-- x:begin -->',
  '<!-- x:end --> <!-- x:begin -->',
  '<!-- x:begin --><!-- x:end --><!-- x:begin -->',
])('marks that are not there once each, in order, are refused: %p', (text) => {
  expect(() => replaced(text)).toThrow(
    'there must be one <!-- x:begin --> and, after it, one <!-- x:end -->',
  );
});
