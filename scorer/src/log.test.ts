import { expect, test } from 'bun:test';
import { join } from 'node:path';

/** What a program that logs so writes to stderr when that is no terminal. */
function logged(program: string): Record<string, unknown>[] {
  const script = `import { createLog } from ${JSON.stringify(join(import.meta.dir, 'log.ts'))}; ${program}`;
  const { stderr, stdout } = Bun.spawnSync([process.execPath, '-e', script]);
  expect(stdout.toString()).toBe('');
  return stderr
    .toString()
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as Record<string, unknown>);
}

test('logs are JSON lines on stderr, from the given level on', () => {
  const lines = logged(
    "const log = createLog('warn'); log.info('unseen'); log.warn({ partition: 3 }, 'seen'); log.error(new Error('why'));",
  );
  expect(lines).toMatchObject([
    { level: 40, partition: 3, msg: 'seen' },
    { level: 50, msg: 'why' },
  ]);
});

test('the last line is there although the process exits at once', () => {
  expect(logged("createLog('info').fatal('the end'); process.exit(1);")).toMatchObject([{ msg: 'the end' }]);
});

test('passwords are not logged', () => {
  const text = JSON.stringify(
    logged(
      "createLog('info').info({ password: 's3cr3t', backend: { databaseUrl: 'postgres://u:s3cr3t@h' }, sasl: { password: 's3cr3t' } }, 'config');",
    ),
  );
  expect(text).not.toContain('s3cr3t');
});
