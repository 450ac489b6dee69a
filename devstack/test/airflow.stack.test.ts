// Proves that Airflow is real: it runs a DAG in one process, and by its scheduler when somebody asks for it by REST.
import { afterAll, beforeAll, describe, expect, test } from 'bun:test';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type Airflow, type AirflowService, projectFolder, startAirflow } from '../src/index.ts';

const windows = [
  { from: '2026-04-29T12:00:00Z', to: '2026-04-30T12:00:00Z' },
  { from: '2026-04-30T12:00:00Z', to: '2026-05-01T12:00:00Z' },
];
const answers = {
  drift: { drifted: false, kind: 'none', cooling_down: false, windows },
  retrain: { version: '7' },
  gate: { passed: false, checks: [] },
  retention: { rows: { prediction: 1_000 } },
  rollback: { promoted: '6' },
  confirm: { confirmed: false, scorers: [] },
};
const pollIntervalMs = 500;
const startTimeoutMs = 300_000;

const folder = mkdtempSync(join(tmpdir(), 'lonetree-airflow-test-'));
const calls = join(folder, 'calls.jsonl');
/** The commands of lonetree_ml that were called, which a stand-in writes down. Retention has a schedule of its own. */
const commands = () =>
  readFileSync(calls, 'utf8')
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => (JSON.parse(line) as string[])[0])
    .filter((command) => command !== 'retention');

let airflow: Airflow;
beforeAll(async () => {
  await Bun.write(calls, '');
  airflow = await startAirflow({
    env: {
      LONETREE_PYTHON: join(projectFolder, 'orchestrator', 'tests', 'stand_in.py'),
      CALLS: calls,
      ANSWERS: JSON.stringify(answers),
      // Nothing but what the tests ask for.
      DRIFT_SCHEDULE: '0 0 29 2 *',
    },
  });
}, startTimeoutMs);
afterAll(async () => {
  await airflow.stop();
  rmSync(folder, { recursive: true });
});

describe('a DAG in one process', () => {
  test('answers how the run ended and what its tasks answered', async () => {
    const { state, tasks, results } = await airflow.runDag('retention');
    expect(state).toBe('success');
    expect(tasks).toEqual({ drop_old_days: 'success' });
    expect(results).toEqual({ drop_old_days: answers.retention });
  });

  test('a run that fails is an answer, too', async () => {
    const { state, tasks } = await airflow.runDag('rollback', { version: '7', why: 'nobody confirms it' });
    expect(state).toBe('failed');
    expect(tasks).toMatchObject({ roll_back: 'success', confirm: 'success', tell_failure: 'failed' });
  });

  test('a run that cannot begin is an error', async () => {
    await expect(airflow.runDag('promote', { version: 'seven' })).rejects.toThrow('promote');
  });
});

describe('the whole of Airflow', () => {
  let service: AirflowService;
  const ask = async (path: string, body?: object) => {
    const answer = await fetch(`${service.url}/api/v2/${path}`, {
      method: body === undefined ? 'GET' : 'POST',
      headers: { authorization: service.bearer, 'content-type': 'application/json' },
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    });
    const text = await answer.text();
    if (!answer.ok) throw new Error(`${path} answered ${answer.status}: ${text}`);
    return JSON.parse(text) as Record<string, never>;
  };
  type Runs = { dag_runs: { dag_run_id: string; run_type: string; state: string }[] };
  const ended = async (runType: string) => {
    for (; ; await Bun.sleep(pollIntervalMs)) {
      const { dag_runs: runs } = (await ask('dags/drift_and_retrain/dagRuns')) as unknown as Runs;
      const run = runs.find(({ run_type: type, state }) => type === runType && /success|failed/.test(state));
      if (run !== undefined) return run.state;
    }
  };
  beforeAll(async () => {
    service = await airflow.serve();
  }, startTimeoutMs);

  test('an event of the asset starts a retraining, drift or not', async () => {
    await Bun.write(calls, '');
    let assetId: number | undefined;
    for (; assetId === undefined; await Bun.sleep(pollIntervalMs)) {
      const { assets } = (await ask('assets?name_pattern=retraining-wanted')) as unknown as {
        assets: { id: number }[];
      };
      assetId = assets[0]?.id;
    }
    await ask('assets/events', { asset_id: assetId, extra: { why: 'all sensors were replaced' } });
    expect(await ended('asset_triggered')).toBe('success');
    expect(commands()).toEqual(['drift', 'retrain', 'gate']);
  });

  test('a run may be asked for, with a time to look at', async () => {
    await Bun.write(calls, '');
    const at = '2026-05-01T12:00:00Z';
    await ask('dags/drift_and_retrain/dagRuns', { logical_date: null, conf: { at } });
    expect(await ended('manual')).toBe('success');
    expect(readFileSync(calls, 'utf8')).toContain(`["drift", "--at", "${at}"`);
    expect(commands()).toEqual(['drift']);
  });

  test('ends with all its processes', async () => {
    const session = airflow.pids()[0] as number;
    // Asked of another one than us, who might not see what we did not end.
    const alive = () => {
      const lines = Bun.spawnSync(['ps', '-s', String(session), '-o', 'stat=,args=']).stdout.toString();
      // A zombie has ended, and waits for init to hear of it.
      return lines.split('\n').filter((line) => line !== '' && !line.startsWith('Z'));
    };
    expect(alive().length).toBeGreaterThan(5);
    await airflow.stop();
    expect(alive()).toEqual([]);
  });
});
