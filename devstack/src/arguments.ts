// Command lines of the programs for people who work on the project.
import { parseArgs } from 'node:util';

/**
 * What `read` makes of the command line. `--help` shows the usage and ends the program with 0; when `read` throws, its message
 * and the usage end it with 2.
 */
export function readArguments<T>(usage: string, read: (args: string[]) => T): T {
  const args = process.argv.slice(2);
  if (args.includes('--help') || args.includes('-h')) {
    console.log(usage.trim());
    process.exit(0);
  }
  try {
    return read(args);
  } catch (error) {
    console.error(`${(error as Error).message}\n\n${usage.trim()}`);
    process.exit(2);
  }
}

/** For a program that does one thing: whatever stands behind its name is refused. */
export function takeNoArguments(usage: string): void {
  readArguments(usage, (args) => parseArgs({ args }));
}

/** `name` is that of the option or argument, for the error. */
export function readWholeNumber(name: string, text: string, { min = 0 } = {}): number {
  if (!/^\d{1,15}$/.test(text) || Number(text) < min)
    throw new Error(`${name}: "${text}" is no whole number from ${min} on`);
  return Number(text);
}
