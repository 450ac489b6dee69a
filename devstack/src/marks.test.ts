import { expect, test } from 'bun:test';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { replaceBetweenMarks } from './marks.ts';

const replaced = async (text: string, content: string) => {
  const folder = mkdtempSync(join(tmpdir(), 'lonetree-marks-'));
  const file = join(folder, 'a.md');
  try {
    writeFileSync(file, text);
    await replaceBetweenMarks(file, 'x', content);
    return readFileSync(file, 'utf8');
  } finally {
    rmSync(folder, { recursive: true });
  }
};

test('only what stands between the marks is replaced, whatever it contains', async () => {
  const text = 'a\n<!-- x:begin -->\nold\n<!-- x:end -->\nb $& <!-- y:begin -->\n';
  expect(await replaced(text, 'new $& $1')).toBe(
    'a\n<!-- x:begin -->\nnew $& $1\n<!-- x:end -->\nb $& <!-- y:begin -->\n',
  );
});

test.each([
  '',
  '<!-- x:begin -->',
  '<!-- x:end --> <!-- x:begin -->',
  '<!-- x:begin --><!-- x:end --><!-- x:begin -->',
])('marks that are not there once each, in order, are refused: %p', (text) => {
  expect(replaced(text, 'new')).rejects.toThrow(
    'there must be one <!-- x:begin --> and, after it, one <!-- x:end -->',
  );
});
