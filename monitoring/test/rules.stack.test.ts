// Prometheus' and Alertmanager's own programs check the files that they will read.
import { beforeAll, expect, test } from 'bun:test';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { ensurePackages } from '@lonetree/devstack';

const folder = join(import.meta.dir, '..');
const rules = readFileSync(join(folder, 'prometheus', 'rules', 'alerts.yml'), 'utf8');
const tests = readFileSync(join(folder, 'prometheus', 'tests', 'alerts.yml'), 'utf8');
const runbook = readFileSync(join(folder, '..', 'docs', 'RUNBOOK.md'), 'utf8');
const alerts = [...rules.matchAll(/alert: (\w+)/g)].map(([, name]) => name as string);

beforeAll(async () => {
  for (const [what, name] of [
    ['prometheus', 'promtool'],
    ['prometheus-alertmanager', 'amtool'],
  ] as const)
    await ensurePackages({ what: name, packages: [what], isThere: () => Bun.which(name) !== null });
}, 300_000);

const run = (program: string, ...args: string[]) => {
  const { exitCode, stdout, stderr } = Bun.spawnSync([program, ...args], { cwd: folder });
  return { exitCode, output: stdout.toString() + stderr.toString() };
};

test('prometheus.yml and the rules are valid', () => {
  const checked = run('promtool', 'check', 'config', 'prometheus/prometheus.yml');
  expect(checked).toMatchObject({ exitCode: 0 });
  expect(checked.output).toContain(`${alerts.length} rules found`);
});

test('every alert fires when it has to and not otherwise, and recording rules compute what they say', () => {
  expect(run('promtool', 'test', 'rules', 'prometheus/tests/alerts.yml')).toMatchObject({ exitCode: 0 });
});

test('a rule that computes something else would fail', () => {
  const path = join(folder, 'prometheus', 'tests', 'alerts.yml');
  const wrong = tests.replace('value: 0.1475', 'value: 0.2');
  expect(wrong).not.toBe(tests);
  const file = Bun.spawnSync(['mktemp', '--suffix=.yml', '-p', join(path, '..')])
    .stdout.toString()
    .trim();
  try {
    Bun.spawnSync(['tee', file], { stdin: Buffer.from(wrong) });
    expect(run('promtool', 'test', 'rules', file).exitCode).not.toBe(0);
  } finally {
    Bun.spawnSync(['rm', file]);
  }
});

test.each(alerts)('%s is tested, and leads to a section of the runbook', (alert) => {
  expect(tests).toContain(`alertname: ${alert}\n`);
  const [, anchor] =
    new RegExp(`alert: ${alert}\\n[\\s\\S]*?runbook: docs/RUNBOOK\\.md#([\\w-]+)`).exec(rules) ?? [];
  const anchors = [...runbook.matchAll(/^## (.+)$/gm)].map(([, title]) =>
    (title as string)
      .toLowerCase()
      .replaceAll(/[^\w -]/g, '')
      .replaceAll(' ', '-'),
  );
  expect(anchors).toContain(anchor as string);
});

test('alertmanager.yml is valid', () => {
  expect(run('amtool', 'check-config', 'alertmanager/alertmanager.yml')).toMatchObject({ exitCode: 0 });
});
