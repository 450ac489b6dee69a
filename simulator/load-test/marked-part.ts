// Rewrites the part of a document that a command owns. Pure.

/** What stands between `<!-- name:begin -->` and `<!-- name:end -->` becomes `content`. */
export function replaceMarkedPart(document: string, name: string, content: string): string {
  const [begin, end] = [`<!-- ${name}:begin -->`, `<!-- ${name}:end -->`];
  const from = document.indexOf(begin);
  const to = document.indexOf(end);
  if (from === -1 || to < from) throw new Error(`the document has no lines ${begin} and, after it, ${end}`);
  return `${document.slice(0, from)}${begin}\n\n${content.trim()}\n\n${document.slice(to)}`;
}
