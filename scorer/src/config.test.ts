import { afterEach, beforeEach, describe, expect, test } from 'bun:test';
import { mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { isAbsolute, join } from 'node:path';
import { ConfigError, describeSettings, readConfig } from './config.ts';

/** What a stranger is told; fails when the settings are taken. */
function complaint(environment: Record<string, string>): string {
  try {
    readConfig(environment);
  } catch (error) {
    if (error instanceof ConfigError) return error.message;
    throw error;
  }
  throw new Error('the settings were taken');
}

const full = {
  KAFKA_BROKERS: 'a:9092, b:9093',
  DATABASE_URL: 'postgresql://u:p%40@db:5432/readings?sslmode=require',
};

test('nothing has to be set, and empty means not set', () => {
  const config = readConfig({});
  expect(config).toEqual(readConfig({ PORT: '', KAFKA_BROKERS: '', DATABASE_URL: '' }));
  expect(config.backend.kind).toBe('embedded');
  expect([config.host, config.port, config.group]).toEqual(['127.0.0.1', 8080, 'scorer']);
  expect(config.topics).toEqual({
    readings: 'readings',
    anomalies: 'anomalies',
    deadLetters: 'readings.dead-letter',
    modelUpdates: 'model-updates',
  });
  expect(config.model).toMatchObject({ name: 'lonetree', alias: 'champion', pollIntervalMs: 30_000 });
  expect(config.shadow).toEqual({ alias: 'challenger', sampleRate: 0.1 });
  expect([config.model.registryUri, config.adminToken]).toEqual([undefined, undefined]);
  expect(config.scorer).toEndWith(`-${process.pid}`);
});

test('files that belong to the project are found from any folder', () => {
  expect(isAbsolute(readConfig({}).model.file)).toBe(true);
});

test('brokers and database together mean the full stack', () => {
  expect(readConfig(full).backend).toEqual({
    kind: 'full',
    brokers: ['a:9092', 'b:9093'],
    databaseUrl: full.DATABASE_URL,
  });
});

test('one of brokers and database alone is refused, and the missing one named', () => {
  expect(complaint({ KAFKA_BROKERS: 'a:1' })).toStartWith('KAFKA_BROKERS is set and DATABASE_URL is not');
  expect(complaint({ DATABASE_URL: full.DATABASE_URL })).toStartWith(
    'DATABASE_URL is set and KAFKA_BROKERS is not',
  );
});

test.each([
  [{ PORT: 'abc' }, 'PORT="abc" cannot be used: give a whole number from 0 to 65535.'],
  [{ PORT: '80.5' }, 'PORT="80.5" cannot be used: give a whole number from 0 to 65535.'],
  [{ PORT: '65536' }, 'PORT="65536" cannot be used: give a whole number from 0 to 65535.'],
  [
    { MODEL_POLL_SECONDS: '0' },
    'MODEL_POLL_SECONDS="0" cannot be used: give a whole number from 1 to 86400.',
  ],
  [{ SHADOW_SAMPLE_RATE: '1.1' }, 'SHADOW_SAMPLE_RATE="1.1" cannot be used: give a number from 0 to 1.'],
  [{ SHADOW_SAMPLE_RATE: '-0.1' }, 'SHADOW_SAMPLE_RATE="-0.1" cannot be used: give a number from 0 to 1.'],
  [{ SHADOW_SAMPLE_RATE: 'NaN' }, 'SHADOW_SAMPLE_RATE="NaN" cannot be used: give a number from 0 to 1.'],
  [
    { CHALLENGER_ALIAS: 'champion' },
    'MODEL_ALIAS="champion" and CHALLENGER_ALIAS="champion" cannot be used: give two different aliases.',
  ],
  [{ SCORER_ID: 'a b' }, 'SCORER_ID="a b" cannot be used: give 1 to 200 letters'],
  [
    { MLFLOW_TRACKING_URI: 'sqlite:///mlflow.db' },
    'MLFLOW_TRACKING_URI=(not shown) cannot be used: give http://host:port',
  ],
  [{ MODEL_UPDATES_TOPIC: 'anomalies' }, 'READINGS_TOPIC="readings", ANOMALIES_TOPIC="anomalies"'],
  [{ KAFKA_SSL: 'yes' }, 'KAFKA_SSL="yes" cannot be used: give one of true, false.'],
  [{ LOG_LEVEL: 'verbose' }, 'LOG_LEVEL="verbose" cannot be used: give one of trace, debug, info'],
  [{ READINGS_TOPIC: 'a b' }, 'READINGS_TOPIC="a b" cannot be used: give 1 to 249 letters'],
  [{ ...full, KAFKA_BROKERS: 'localhost' }, 'KAFKA_BROKERS="localhost" cannot be used: give host:port'],
  [{ ...full, KAFKA_BROKERS: 'a:1,' }, 'KAFKA_BROKERS="a:1," cannot be used: give host:port'],
  [{ ...full, DATABASE_URL: 'mysql://db' }, 'DATABASE_URL=(not shown) cannot be used: give postgres://'],
  [
    { KAFKA_SASL_USERNAME: 'u' },
    'KAFKA_SASL_MECHANISM, KAFKA_SASL_USERNAME and KAFKA_SASL_PASSWORD belong together',
  ],
  [{ ANOMALIES_TOPIC: 'readings' }, 'READINGS_TOPIC="readings", ANOMALIES_TOPIC="readings"'],
])('%j is refused with what is allowed', (environment, message) => {
  expect(complaint(environment)).toStartWith(message);
});

test('all mistakes are told at once', () => {
  expect(complaint({ PORT: 'x', LOG_LEVEL: 'y' }).split('\n')).toHaveLength(2);
});

test('a password is never told, also not one that spoils its URL', () => {
  const told = complaint({ ...full, DATABASE_URL: 'postgres://u:s3cr3t@host:port/db' });
  expect(told).toContain('DATABASE_URL');
  expect(told).not.toContain('s3cr3t');
  const sasl = { KAFKA_SASL_MECHANISM: 'md5', KAFKA_SASL_USERNAME: 'u', KAFKA_SASL_PASSWORD: 's3cr3t' };
  expect(complaint(sasl)).not.toContain('s3cr3t');
});

test('several database hosts are taken as the client takes them', () => {
  const url = 'postgres://u:p@first:5432,second:5433/readings';
  expect(readConfig({ ...full, DATABASE_URL: url }).backend).toMatchObject({ databaseUrl: url });
});

test('every setting is described, with its default and what is allowed where it has them', () => {
  const described = describeSettings();
  expect(described.filter(({ meaning }) => meaning === '')).toEqual([]);
  const find = (wanted: string) => described.find(({ name }) => name === wanted);
  expect(find('PORT')).toEqual({
    name: 'PORT',
    fallback: '8080',
    allowed: 'a whole number from 0 to 65535',
    meaning: 'port that HTTP listens on',
  });
  expect(find('ADMIN_TOKEN')).toMatchObject({ fallback: undefined, allowed: undefined });
  expect(find('MODEL_FILE')).toMatchObject({ fallback: 'models/default.forest' });
});

describe('secrets by file', () => {
  let folder: string;
  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), 'lonetree-config-'));
  });
  afterEach(() => rmSync(folder, { recursive: true }));

  function fileWith(text: string): string {
    const file = join(folder, `secret-${readdirSync(folder).length}`);
    writeFileSync(file, text);
    return file;
  }

  test('a file gives what it holds, with or without a line end', () => {
    const config = readConfig({
      KAFKA_BROKERS: full.KAFKA_BROKERS,
      DATABASE_URL_FILE: fileWith(`${full.DATABASE_URL}\n`),
      ADMIN_TOKEN_FILE: fileWith(' t0ken \r\n'),
      KAFKA_SASL_MECHANISM: 'plain',
      KAFKA_SASL_USERNAME: 'u',
      KAFKA_SASL_PASSWORD_FILE: fileWith('s3cr3t'),
    });
    expect(config.backend).toMatchObject({ databaseUrl: full.DATABASE_URL });
    expect(config.adminToken).toBe(' t0ken ');
    expect(config.kafkaSecurity.sasl?.password).toBe('s3cr3t');
  });

  test('a file that is not named is not read, and an empty setting counts as none', () => {
    const config = readConfig({ ADMIN_TOKEN_FILE: '', ADMIN_TOKEN: 't' });
    expect(config.adminToken).toBe('t');
    expect(readConfig({ ADMIN_TOKEN: '', ADMIN_TOKEN_FILE: fileWith('f') }).adminToken).toBe('f');
  });

  test.each(['DATABASE_URL', 'ADMIN_TOKEN', 'KAFKA_SASL_PASSWORD'])(
    '%s and its file together are refused',
    (name) => {
      expect(complaint({ [name]: 's3cr3t', [`${name}_FILE`]: fileWith('s3cr3t') })).toBe(
        `${name} and ${name}_FILE are both set: set one of them.`,
      );
    },
  );

  test('a file that is absent, no file, empty or of several lines is refused by name, and all are told at once', () => {
    const absent = join(folder, 'absent');
    expect(complaint({ ADMIN_TOKEN_FILE: absent })).toBe(
      `ADMIN_TOKEN_FILE="${absent}" cannot be used: the file cannot be read (ENOENT).`,
    );
    expect(complaint({ ADMIN_TOKEN_FILE: folder })).toContain('cannot be read (EISDIR)');
    expect(complaint({ ADMIN_TOKEN_FILE: fileWith('\n') })).toContain('the file is empty');
    const several = complaint({ ADMIN_TOKEN_FILE: fileWith('s3cr3t\ntwo\n'), DATABASE_URL_FILE: absent });
    expect(several).toContain('the file has more than one line');
    expect(several.split('\n')).toHaveLength(2);
    expect(several).not.toContain('s3cr3t');
  });

  test('what a file holds is checked like the setting, without being told', () => {
    const file = fileWith('mysql://u:s3cr3t@h');
    const told = complaint({ KAFKA_BROKERS: 'a:1', DATABASE_URL_FILE: file });
    expect(told).toStartWith(
      `DATABASE_URL=(not shown), from the file ${file}, cannot be used: give postgres://`,
    );
    expect(told).not.toContain('s3cr3t');
  });
});
