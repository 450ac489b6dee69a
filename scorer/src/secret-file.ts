// A secret that stands in a file, as containers' secrets do, so that no list of processes or environments shows it.
import { readFileSync } from 'node:fs';

export type SecretFile = { readonly secret: string } | { readonly unusable: string };

/** The one line of a file, without the line end that editors and `echo` leave there. */
export function readSecretFile(path: string): SecretFile {
  let text: string;
  try {
    text = readFileSync(path, 'utf8');
  } catch (error) {
    const { code } = error as { readonly code?: string };
    return { unusable: `the file cannot be read (${code ?? 'unknown error'})` };
  }
  const secret = text.replace(/\r?\n$/, '');
  if (secret === '') return { unusable: 'the file is empty' };
  if (/[\r\n]/.test(secret)) return { unusable: 'the file has more than one line' };
  return { secret };
}
