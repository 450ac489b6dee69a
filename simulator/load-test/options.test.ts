import { expect, test } from 'bun:test';
import { parseLoadTest } from './options.ts';

test('without options: three message sizes, five steps, a stack of its own', () => {
  expect(parseLoadTest([])).toMatchObject({
    batchSizes: [1, 64, 1_000],
    rates: null,
    stepPercents: [10, 25, 50, 75, 90],
    durationSeconds: 10,
    arrivals: 'poisson',
    foreign: null,
  });
});

test('takes what it is given', () => {
  const options = parseLoadTest(
    '--batch 64 --rates 500,1000 --duration 60s --arrivals constant --seed 9 --out there'.split(' '),
  );
  expect(options).toMatchObject({
    batchSizes: [64],
    rates: [500, 1_000],
    durationSeconds: 60,
    arrivals: 'constant',
    seed: 9,
    outFolder: 'there',
  });
});

test.each([
  ['127.0.0.1:9092', '127.0.0.1'],
  ['localhost:9092,127.0.0.2:9093', '[::1]'],
])('servers at loopback addresses need no permission: %s', (brokers, host) => {
  const database = `postgres://postgres@${host}:5432/postgres`;
  expect(parseLoadTest(['--brokers', brokers, '--database', database])).toMatchObject({
    foreign: { brokers: brokers.split(','), databaseUrl: database },
  });
});

test('other machines are put under load only on purpose', () => {
  const args = ['--brokers', '127.0.0.1:9092,kafka.example:9092', '--database', 'postgres://u@127.0.0.1/d'];
  expect(() => parseLoadTest(args)).toThrow('"kafka.example" is not this machine');
  expect(parseLoadTest([...args, '--allow-remote'])).toMatchObject({
    foreign: { brokers: args[1]?.split(',') },
  });
});

test.each([
  ['--batch 0', '--batch has "0"'],
  ['--batch 1,x', '--batch has "x"'],
  ['--batch 10001', 'from 1 to 10000'],
  ['--rates 1.5', '--rates has "1.5"'],
  ['--steps 10 --rates 10', '--rates and --steps'],
  ['--duration 10m', '--duration has "10m"'],
  ['--arrivals burst', '--arrivals is "burst"'],
  ['--baseline --batch 64', '--baseline compares at one reading a message'],
  ['--brokers 127.0.0.1:9092', '--brokers and --database belong together'],
  ['--brokers nowhere --database postgres://a/b', '--brokers has "nowhere"'],
  ['--brokers 127.0.0.1:9092 --database mysql://a/b', '--database cannot be used'],
  ['--brokers 127.0.0.1:9092 --database postgres://127.0.0.1/b --partitions 3', '--partitions does not go'],
  [
    '--brokers 127.0.0.1:9092 --database postgres://127.0.0.1/b --baseline',
    '--baseline needs servers of its own',
  ],
  ['--fast', "'--fast'"],
])('%s is refused', (line, message) => {
  expect(() => parseLoadTest(line.split(' '))).toThrow(message);
});
