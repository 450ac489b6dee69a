import { expect, test } from 'bun:test';
import { runCampaign } from './chaos/campaign.ts';
import { flawCount } from './chaos/checker.ts';

// The short form of `bun run chaos`: real scorers, a real broker and a real database, killed and frozen under load.
test('nothing is lost, doubled or invented while scorers, broker and database are killed and frozen', async () => {
  const report = await runCampaign({
    seed: 1,
    events: [
      'kill',
      'kill:in-copy',
      'kill:before-move',
      'kill:after-commit',
      'freeze:before-begin',
      'leave',
      'database-killed',
      'broker-killed',
    ],
    messagesPerSecond: 1_000,
    readingsPerMessage: 16,
    say: (line) => console.error(line),
  });
  console.error(JSON.stringify(report));
  expect(report.isDrained).toBe(true);
  expect(flawCount(report), JSON.stringify(report)).toBe(0);
  expect(report.readings).toBeGreaterThan(300_000);
  expect(report.anomalies).toBeGreaterThan(100);
  expect(report.deadLetters).toBeGreaterThan(50);
  expect(report.kills).toBeGreaterThanOrEqual(4);
}, 300_000);
