// Tables in Markdown.

/** A table of the columns that `titles` names; a cell may hold any text of one line. */
export function table(titles: readonly string[], rows: readonly (readonly string[])[]): string {
  const line = (cells: readonly string[]) => `| ${cells.map(escaped).join(' | ')} |`;
  return [line(titles), `|${titles.map(() => '---').join('|')}|`, ...rows.map(line)].join('\n');
}

/** As code; nothing stays nothing. */
export const code = (text: string) => (text === '' ? '' : `\`${text}\``);

const escaped = (text: string) => text.replaceAll('|', '\\|');
