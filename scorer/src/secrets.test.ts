import { expect, test } from 'bun:test';
import { readConfig } from './config.ts';
import { createHiding, secretsOf } from './secrets.ts';

const password = `p"ä @:/,\\%`;
const encoded = encodeURIComponent(password);
const config = readConfig({
  KAFKA_BROKERS: 'a:1',
  DATABASE_URL: `postgres://user:${encoded}@first:5432,second:5432/readings`,
  MLFLOW_TRACKING_URI: 'https://mlflow-user:mlflow-pass@registry.example/prefix',
  ADMIN_TOKEN: 'admin-token',
  KAFKA_SASL_MECHANISM: 'plain',
  KAFKA_SASL_USERNAME: 'kafka-user',
  KAFKA_SASL_PASSWORD: 'sasl-pass',
});
const hide = createHiding(secretsOf(config));
const hidden = (value: unknown) => hide(`${JSON.stringify({ value })}\n`);

test.each([
  ['the database’s password', `auth failed with ${password}`, 'auth failed with [secret]'],
  ['the same encoded', `http://x:${encoded}@y`, 'http://x:[secret]@y'],
  ['its address', `cannot connect to postgres://user:${encoded}@first:5432,second:5432/readings`, undefined],
  ['a part of its address', `user:${encoded}@first`, 'user:[secret]@first'],
  ['it in JSON in a text', JSON.stringify({ password }), undefined],
  ['the administrator’s token', 'authorization: Bearer admin-token', 'authorization: Bearer [secret]'],
  ['the password for Kafka', 'SASL sasl-pass refused', 'SASL [secret] refused'],
  [
    'the registry’s password',
    'https://mlflow-user:mlflow-pass@registry.example',
    'https://mlflow-user:[secret]@registry.example',
  ],
  [
    'the registry’s header',
    `Basic ${Buffer.from('mlflow-user:mlflow-pass').toString('base64')}`,
    'Basic [secret]',
  ],
])('%s is hidden in a line, which stays JSON', (_, text, expected) => {
  const line = hidden(text);
  const { value } = JSON.parse(line) as { value: string };
  if (expected !== undefined) expect(value).toBe(expected);
  expect(value).toContain('[secret]');
  for (const secret of [password, encoded, 'admin-token', 'sasl-pass', 'mlflow-pass']) {
    expect(line).not.toContain(secret);
    expect(line).not.toContain(JSON.stringify(secret).slice(1, -1));
  }
  expect(line).toEndWith('\n');
});

test('what stands deep inside is hidden too', () => {
  const error = { message: 'x', stack: 'Error: sasl-pass\n    at y', causes: [{ message: 'admin-token' }] };
  expect(JSON.parse(hidden(error))).toEqual({
    value: { message: 'x', stack: 'Error: [secret]\n    at y', causes: [{ message: '[secret]' }] },
  });
});

test('a secret that is a word of every line makes no nonsense of the line', () => {
  const line = createHiding(['level'])('{"level":30,"msg":"the level is low"}\n');
  expect(line).toBe('{"level":30,"msg":"the [secret] is low"}\n');
});

test('without secrets, and in lines without one, nothing changes', () => {
  const line = '{"level":30, "msg":"postgres://user@first"}\n';
  expect(hide(line)).toBe(line);
  expect(createHiding([])(line)).toBe(line);
  expect(createHiding([''])(line)).toBe(line);
});

test('addresses without a password have none to hide', () => {
  const { DATABASE_URL, MLFLOW_TRACKING_URI } = {
    DATABASE_URL: 'postgres://user@db/readings',
    MLFLOW_TRACKING_URI: 'http://mlflow:5000',
  };
  expect(secretsOf(readConfig({ KAFKA_BROKERS: 'a:1', DATABASE_URL, MLFLOW_TRACKING_URI }))).toEqual([
    DATABASE_URL,
  ]);
  expect(secretsOf(readConfig({}))).toEqual([]);
});
