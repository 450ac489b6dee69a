// The whole command with real servers: nothing about times, everything about counts.
import { expect, test } from 'bun:test';
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Results } from './results.ts';

test('a quick run loses nothing, stores nothing twice, and leaves its reports', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'lonetree-load-test-'));
  try {
    const document = join(folder, 'document.md');
    writeFileSync(document, 'before\n<!-- load-test:begin -->\n<!-- load-test:end -->\nafter\n');
    const child = Bun.spawn(
      [
        process.execPath,
        join(import.meta.dir, 'main.ts'),
        ...['--quick', '--batch', '1,64', '--rates', '200', '--out', folder, '--markdown', document],
      ],
      { stdin: 'ignore', stdout: 'pipe', stderr: 'inherit' },
    );
    const printed = await child.stdout.text();
    expect(await child.exited).toBe(0);

    const results = JSON.parse(readFileSync(join(folder, 'results.json'), 'utf8')) as Results;
    expect(results.failures).toEqual([]);
    expect(results.saturations.map(({ batchSize }) => batchSize)).toEqual([1, 64]);
    const planned = results.steps.map(({ batchSize, targetRate, messages }) => [
      batchSize,
      targetRate,
      messages,
    ]);
    expect(planned).toEqual([
      [1, 200, 200],
      [64, 200, 200],
      [64, 1_000, 1_000],
    ]);
    for (const part of [...results.saturations, ...results.steps]) {
      expect(part).toMatchObject({ failedMessages: 0, lost: 0, duplicate: 0, anomaliesMissing: 0 });
      expect(Object.keys(part.processes)).toEqual(['scorer', 'Kafka', 'PostgreSQL', 'generator']);
      expect(part.processes.scorer?.peakMb).toBeGreaterThan(10);
    }
    for (const {
      readings,
      batchSize,
      messages,
      p50Ms,
      maxMs,
      achievedRate,
      rowsPerSecond,
    } of results.steps) {
      expect(readings).toBe(batchSize * messages);
      expect(maxMs).toBeGreaterThanOrEqual(p50Ms);
      for (const value of [p50Ms, achievedRate, rowsPerSecond]) expect(value).toBeGreaterThan(0);
    }
    const files = readdirSync(folder);
    expect(files).toContain('64-a-message-1000-a-second.hgrm');
    const report = readFileSync(join(folder, 'report.html'), 'utf8');
    expect(report.match(/<svg /g)).toHaveLength(4);
    expect(report).not.toMatch(/NaN|Infinity|undefined/);
    const rewritten = readFileSync(document, 'utf8');
    expect(rewritten).toStartWith('before\n<!-- load-test:begin -->\n');
    expect(rewritten).toContain('| 64 | 1,000 |');
    expect(rewritten).toEndWith('\n<!-- load-test:end -->\nafter\n');
    expect(printed).toContain('Passed.');
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
});
