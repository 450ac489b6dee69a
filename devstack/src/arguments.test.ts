import { afterAll, expect, test } from 'bun:test';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { readWholeNumber } from './arguments.ts';

const folder = mkdtempSync(join(tmpdir(), 'lonetree-arguments-'));
afterAll(() => rmSync(folder, { recursive: true }));
const program = join(folder, 'program.ts');
writeFileSync(
  program,
  `import { takeNoArguments } from ${JSON.stringify(join(import.meta.dir, 'arguments.ts'))};
  takeNoArguments('bun run this\\n\\nDoes that.\\n');
  console.log('done');`,
);
const run = (...args: string[]) => {
  const { stdout, stderr, exitCode } = Bun.spawnSync([process.execPath, program, ...args]);
  return { stdout: stdout.toString(), stderr: stderr.toString(), exitCode };
};

test('without arguments a program that takes none does what it is there for', () => {
  expect(run()).toEqual({ stdout: 'done\n', stderr: '', exitCode: 0 });
});

test('--help shows what it does, without doing it', () => {
  expect(run('--help')).toEqual({ stdout: 'bun run this\n\nDoes that.\n', stderr: '', exitCode: 0 });
});

test.each([['--foo'], ['foo']])('%s is refused by name, with the usage and without a stack', (argument) => {
  const { stdout, stderr, exitCode } = run(argument);
  expect([stdout, exitCode]).toEqual(['', 2]);
  expect(stderr).toContain(argument);
  expect(stderr).toContain('bun run this');
  expect(stderr).not.toContain('    at ');
});

test('a number is whole, and not below its least', () => {
  expect(readWholeNumber('--rounds', '12')).toBe(12);
  for (const text of ['x', '', '1.5', '-1', '1e3', '0', '9999999999999999'])
    expect(() => readWholeNumber('--rounds', text, { min: 1 })).toThrow(
      `--rounds: "${text}" is no whole number`,
    );
});
