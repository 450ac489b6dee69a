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

test('what is called a password, an address of a database or an authorization is not logged', () => {
  const text = JSON.stringify(
    logged(
      "createLog('info').info({ password: 's3cr3t', backend: { databaseUrl: 'postgres://u:s3cr3t@h' }, sasl: { password: 's3cr3t' }, request: { headers: { authorization: 's3cr3t' } } }, 'config');",
    ),
  );
  expect(text).not.toContain('s3cr3t');
});

const troubles = `
  const cause = new Error('password s3cr3t refused');
  const error = new Error('cannot connect to postgres://u:s3cr3t@h/d', { cause });
  error.address = { url: 'postgres://u:s3cr3t@h/d' };
  log.error({ err: error, tried: ['s3cr3t'] }, 'failed with s3cr3t');
  log.child({ topic: 's3cr3t' }).warn(error);
  log.fatal(error, 'the end of %s', 's3cr3t');
`;

test('a secret is not logged wherever it stands: in fields, messages, stacks and causes', () => {
  const lines = logged(`const log = createLog('info', ['s3cr3t']); ${troubles}`);
  expect(lines).toHaveLength(3);
  expect(JSON.stringify(lines)).not.toContain('s3cr3t');
  expect(lines[0]).toMatchObject({
    msg: 'failed with [secret]',
    tried: ['[secret]'],
    err: { message: expect.stringContaining('postgres://u:[secret]@h/d') },
  });
  expect((lines[0] as { err: { stack: string } }).err.stack).toContain('password [secret] refused');
});

test('on a terminal lines are for people, and secrets are not there either', () => {
  const script = `import { createLog } from ${JSON.stringify(join(import.meta.dir, 'log.ts'))};
    process.stderr.isTTY = true;
    const log = createLog('info', ['s3cr3t']); ${troubles}`;
  const text = Bun.spawnSync([process.execPath, '-e', script]).stderr.toString();
  expect(text).toContain('failed with [secret]');
  expect(text).toMatch(/^\[?.*\d\d:\d\d:\d\d.*ERROR/m);
  expect(text).not.toContain('s3cr3t');
  expect(() => JSON.parse(text.split('\n')[0] as string) as unknown).toThrow();
});
