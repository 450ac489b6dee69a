// Parts of documents that a command writes.
import { readFileSync, writeFileSync } from 'node:fs';

/**
 * The part of a document between `<!-- NAME:begin -->` and `<!-- NAME:end -->`, as a function that replaces it. Throws at
 * once when the marks are not there once each, in order: better said before an hour of measuring than after it.
 */
export function openMarkedPart(file: string, name: string): (content: string) => void {
  const [begin, end] = [`<!-- ${name}:begin -->`, `<!-- ${name}:end -->`];
  const readAround = () => {
    const [before, inside, ...more] = readFileSync(file, 'utf8').split(begin);
    const [, after, ...evenMore] = inside?.split(end) ?? [];
    if (after === undefined || more.length > 0 || evenMore.length > 0)
      throw new Error(`${file} cannot be rewritten: there must be one ${begin} and, after it, one ${end}.`);
    return { before, after };
  };
  readAround();
  return (content) => {
    const { before, after } = readAround();
    writeFileSync(file, `${before}${begin}\n\n${content.trim()}\n\n${end}${after}`);
  };
}
