import { expect, test } from 'bun:test';
import { type LogEntry, logLevel } from 'kafkajs';
import { createKafkaLog } from './broker-kafka-log.ts';
import { createTroubles } from './troubles.ts';

function setUp() {
  const lines: (readonly [string, object, string])[] = [];
  const note = createKafkaLog(
    {
      debug: (fields, message) => lines.push(['debug', fields, message]),
      warn: (fields, message) => lines.push(['warn', fields, message]),
    },
    createTroubles({ quietMs: 1_000, countMax: 10, now: () => 0 }),
  );
  return { lines, note };
}

const entry = (level: logLevel, facts: object): LogEntry => ({
  namespace: 'Connection',
  level,
  label: '',
  log: { timestamp: '2026-01-01', logger: 'kafkajs', message: 'Connection error', ...facts },
});

test('what the client calls an error is a warning with what it knows of it, once', () => {
  const { lines, note } = setUp();
  const refused = entry(logLevel.ERROR, { broker: 'a:9092', groupId: 'scorer', error: 'refused' });
  note(refused);
  note(refused);
  note(entry(logLevel.ERROR, { broker: 'a:9092', error: 'timed out' }));
  expect(lines.map(([level]) => level)).toEqual(['warn', 'debug', 'warn']);
  expect(lines[0]).toEqual([
    'warn',
    { client: 'kafkajs', namespace: 'Connection', broker: 'a:9092', groupId: 'scorer', error: 'refused' },
    'Connection error',
  ]);
});

test('what the client only mentions is for who wants to know', () => {
  const { lines, note } = setUp();
  note(entry(logLevel.WARN, {}));
  expect(lines.map(([level]) => level)).toEqual(['debug']);
});
