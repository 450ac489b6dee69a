// Proves what the command line means, and that what it does not mean is said clearly.
import { describe, expect, test } from 'bun:test';
import { HELP } from './help.ts';
import { type Command, parseCommand } from './options.ts';

const parse = (line: string, env: Record<string, string> = {}): Command => {
  const command = parseCommand(
    line.split(' ').filter((word) => word !== ''),
    env,
  );
  if (command === 'help') throw new Error('asked for help');
  return command;
};

describe('options', () => {
  test('without any, a small healthy fleet reports to a scorer on this machine', () => {
    expect(parse('')).toEqual({
      source: {
        fleet: {
          stationCount: 12,
          seed: 1,
          mode: 'independent',
          faults: null,
          readingsPerSecond: 12,
          gatewayCount: 0,
        },
      },
      batchSize: 1,
      destination: { to: 'http', url: 'http://127.0.0.1:8080' },
      brokers: [],
      labelsFile: null,
      labelsTopic: null,
    });
  });

  test('KAFKA_BROKERS makes Kafka the destination, --to another one', () => {
    const env = { KAFKA_BROKERS: 'a:1,b:2' };
    expect(parse('', env).destination).toEqual({ to: 'kafka', topic: 'readings', ledgerFile: null });
    expect(parse('', env).brokers).toEqual(['a:1', 'b:2']);
    expect(parse('--to http', env).destination.to).toBe('http');
    expect(parse('--brokers c:3', env).brokers).toEqual(['c:3']);
  });

  test('a duration is a number of readings at the fleet’s rate', () => {
    expect(parse('--rate 500 --duration 2m').readingCountMax).toBe(60_000);
    expect(parse('--rate 500 --duration 2m --readings 10').readingCountMax).toBe(10);
    expect(parse('--to csv --output r.csv --stations 10 --interval 1h --duration 1d').readingCountMax).toBe(
      240,
    );
  });

  test('faults are none, a rate, or one every so often', () => {
    const faults = (text: string) => {
      const { source } = parse(`--faults ${text}`);
      return 'fleet' in source ? source.fleet.faults : undefined;
    };
    expect([faults('none'), faults('0.5'), faults('every:1.5s')]).toEqual([
      null,
      { perStationHour: 0.5 },
      { everyMs: 1_500 },
    ]);
  });

  test('a shift is a number of standard deviations per feature', () => {
    const { source } = parse('--shift temperature:1,sound:-0.5');
    expect('fleet' in source && source.fleet.shift).toEqual({ temperature: 1, sound: -0.5 });
  });

  test('a replay has its own options', () => {
    const { source, durationMs } = parse(
      '--replay r.csv --speed max --time-column t --features a,b --station s --now --duration 3s',
    );
    expect(source).toEqual({
      replay: {
        file: 'r.csv',
        speed: null,
        timeColumn: 't',
        features: ['a', 'b'],
        station: 's',
        isShiftedToNow: true,
      },
    });
    expect(durationMs).toBe(3_000);
  });

  test.each([
    ['--bogus', '--bogus'],
    ['word', 'positional'],
    ['--stations 0', '--stations is "0"; give a whole number from 1'],
    ['--batch 1e3', '--batch is "1e3"'],
    ['--seed -1', '--seed'],
    ['--mode wild', '--mode is "wild"; give independent or correlated'],
    ['--faults often', '--faults is "often"'],
    ['--faults every:9', '--faults has the time "9"'],
    ['--shift temperature', '--shift is "temperature"'],
    ['--shift temperature:', '--shift is "temperature:"'],
    ['--shift pressure:1', '--shift is "pressure:1"'],
    ['--shift sound:1,sound:2', '--shift is "sound:1,sound:2"'],
    ['--shift sound:1 --replay r.csv', '--shift does not go with --replay'],
    ['--rate 0', '--rate is "0"'],
    ['--duration 5', '--duration has the time "5"'],
    ['--start soon', '--start: "soon" is no time'],
    ['--to mqtt', '--to is "mqtt"; give kafka, http or csv'],
    ['--to kafka', '--to kafka needs --brokers'],
    ['--to csv', '--to csv needs --output'],
    ['--output rows.csv', '--output needs --to csv'],
    ['--ledger l.tsv', '--ledger needs --to kafka'],
    ['--labels-topic l', '--labels-topic needs --brokers'],
    ['--url nowhere', '--url is "nowhere"'],
    ['--speed 2', '--speed needs --replay'],
    ['--now', '--now needs --replay'],
    ['--replay r.csv --rate 5', '--rate does not go with --replay'],
    ['--replay r.csv --labels l.jsonl', '--labels does not go with --replay'],
  ])('%j is refused', (line, message) => {
    expect(() => parse(line)).toThrow(message);
  });

  test('every option stands in the help', () => {
    const named = new Set(HELP.match(/--[a-z-]+/g));
    for (const name of named) {
      if (name === '--help') continue;
      // An option that exists complains about its value or its company, never about being unknown.
      expect(() => parse(`${name}=?`)).not.toThrow('Unknown option');
    }
    expect(named.size).toBeGreaterThanOrEqual(25);
    expect(parseCommand(['--help'], {})).toBe('help');
  });
});
