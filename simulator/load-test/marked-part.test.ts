import { expect, test } from 'bun:test';
import { replaceMarkedPart } from './marked-part.ts';

const document = '# Title\n\n<!-- a:begin -->\nold\n<!-- a:end -->\n\nrest\n';

test('replaces what stands between the marks and keeps the rest', () => {
  const replaced = replaceMarkedPart(document, 'a', '\nnew $1\n');
  expect(replaced).toBe('# Title\n\n<!-- a:begin -->\n\nnew $1\n\n<!-- a:end -->\n\nrest\n');
  expect(replaceMarkedPart(replaced, 'a', 'new $1')).toBe(replaced);
});

test('a document without the marks is refused', () => {
  expect(() => replaceMarkedPart(document, 'b', 'new')).toThrow('<!-- b:begin -->');
});
