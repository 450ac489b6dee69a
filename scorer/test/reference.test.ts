import { expect, test } from 'bun:test';
import { join } from 'node:path';
import { describeConfiguration } from '../reference/configuration.ts';
import { describeMetrics } from '../reference/metrics.ts';
import { references } from '../reference/references.ts';

test.each([...references])(
  '$file is what the code says; `bun run build:docs` makes it so',
  async ({ file, describe }) => {
    const written = await Bun.file(join(import.meta.dir, '..', '..', file)).text();
    expect(written).toBe(await describe());
  },
);

test('a setting stands there with its default, what is allowed and what it means, and with its file if it is secret', () => {
  const text = describeConfiguration();
  expect(text).toContain('| `PORT` | `8080` | a whole number from 0 to 65535 | port that HTTP listens on |');
  expect(text).toContain('| `KAFKA_SSL` | `false` | one of true, false |');
  for (const name of ['DATABASE_URL', 'ADMIN_TOKEN', 'KAFKA_SASL_PASSWORD'])
    expect(text).toContain(`| \`${name}_FILE\` |  | any text | file that holds ${name} |`);
  expect(text).toContain('| `publishSizeMax` | 900,000 bytes |');
  expect(text).toContain('| `fetchSizeMax` | 4 MiB |');
  expect(text).toContain('| `fetchWaitMaxMs` | 250 ms |');
});

test('nothing of the machine that wrote it stands there', async () => {
  const text = `${describeConfiguration()}${await describeMetrics()}`;
  expect(text).not.toContain(join(import.meta.dir, '..', '..'));
  expect(text).not.toContain(String(process.pid));
});

test('a metric stands there with its type, unit, labels and buckets', async () => {
  const text = await describeMetrics();
  expect(text).toContain(
    '| `lonetree_readings_total` | counter | readings | `verdict`: `normal`, `abnormal` |',
  );
  expect(text).toContain(
    '| `lonetree_stage_duration_seconds` | histogram | seconds | `stage`: `decode`, `score`, `store`, `publish` |',
  );
  expect(text).toContain('| `lonetree_consumer_lag_messages` | gauge | messages | `partition` |');
  expect(text).toMatch(/\| `lonetree_reading_latency_seconds` \| .*0\.003, .*0\.1, .*10/);
  expect(text).toContain('| `process_resident_memory_bytes` | gauge | bytes |');
});
