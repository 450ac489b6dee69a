// Parts of documents that a command writes.
import { readFile, writeFile } from 'node:fs/promises';

/** Replaces what stands between `<!-- NAME:begin -->` and `<!-- NAME:end -->`. Throws when the marks are not there once each. */
export async function replaceBetweenMarks(file: string, name: string, content: string): Promise<void> {
  const [begin, end] = [`<!-- ${name}:begin -->`, `<!-- ${name}:end -->`];
  const text = await readFile(file, 'utf8');
  const [before, inside, ...more] = text.split(begin);
  const [, after, ...evenMore] = inside?.split(end) ?? [];
  if (after === undefined || more.length > 0 || evenMore.length > 0)
    throw new Error(`${file}: there must be one ${begin} and, after it, one ${end}.`);
  await writeFile(file, `${before}${begin}\n${content}\n${end}${after}`);
}
