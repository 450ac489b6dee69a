// `bun run bench:http`: POST /v1/score beside a FastAPI and an MLflow server of the same forest, under the same load.
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { cpus, tmpdir } from 'node:os';
import { join } from 'node:path';
import { buildDefaultModel, openMarkedPart, processorSeconds } from '@lonetree/devstack';
import { applyLoad, connectionCount, ensureWrk, packBodies } from './load.ts';
import {
  type ForestFiles,
  type Format,
  type ModelServer,
  startFastApi,
  startLonetree,
  startMlflow,
} from './model-servers.ts';
import { readOptions } from './options.ts';
import { type RequestReadings, simulateRequests } from './readings.ts';
import { describe, type Repetition, type Report, type Result, summarise } from './report.ts';
import { compareScores, scoreByScikitLearn } from './scores.ts';

/** Distinct rows, more than any cache of branches remembers. */
const distinctRowCount = 16_384;
/** Requests of each size whose scores are compared before anything is timed. */
const checkedCount = 64;

type Case = {
  readonly rows: number;
  readonly format: Format;
  readonly requests: readonly RequestReadings[];
  /** scikit-learn's scores of the first `checkedCount` requests. */
  readonly expected: Float64Array;
};

const options = readOptions();
const writeMarkdown = options.markdown === undefined ? undefined : openMarkedPart(options.markdown, 'http');
const folder = mkdtempSync(join(tmpdir(), 'lonetree-bench-http-'));
const servers: ModelServer[] = [];
try {
  process.stdout.write(`${JSON.stringify(await bench())}\n`);
} catch (error) {
  process.stderr.write(`bench:http: ${(error as Error).message}\n`);
  process.exitCode = 1;
} finally {
  for (const server of servers) await server.stop();
  rmSync(folder, { recursive: true });
}

async function bench(): Promise<Report> {
  const wrk = await ensureWrk();
  const files = { forest: join(folder, 'model.forest'), sklearn: join(folder, 'model.skops') };
  say('training the forest');
  await buildDefaultModel(files.forest, { sklearnFile: files.sklearn });
  const [missing, cases] = await Promise.all([startServers(files), prepareCases(files)]);
  let scoreDifferenceMax = 0;
  for (const each of cases) {
    const checked = { ...each, requests: each.requests.slice(0, checkedCount) };
    for (const server of serversOf(each))
      scoreDifferenceMax = Math.max(scoreDifferenceMax, await compareScores(server, checked));
  }
  const http: Result[] = [];
  for (const each of cases) http.push(...(await measureCase(each)));
  const report: Report = {
    machine: {
      cpu: cpus()[0]?.model ?? 'unknown',
      cores: cpus().length,
      platform: `${process.platform} ${process.arch}`,
    },
    versions: { bun: Bun.version, wrk, ...lockedVersions() },
    load: {
      connections: connectionCount,
      seconds: options.seconds,
      repetitions: options.repetitions,
      distinctReadings: distinctRowCount,
    },
    scoreDifferenceMax,
    missing,
    http,
  };
  const table = describe(report);
  say('');
  process.stderr.write(`${table}\n`);
  if (options.json !== undefined) writeFileSync(options.json, `${JSON.stringify(report, null, 1)}\n`);
  writeMarkdown?.(table);
  return report;
}

/** Answers what could not be started, and why; without our own server there is nothing to compare. */
async function startServers(files: ForestFiles): Promise<Report['missing']> {
  const { baseline } = options;
  servers.push(await startLonetree(files));
  if (baseline !== undefined)
    servers.push(await startLonetree(files, { name: 'lonetree-baseline', folder: baseline }));
  const missing: { server: string; why: string }[] = [];
  for (const [name, startPeer] of [
    ['fastapi', startFastApi],
    ['mlflow', startMlflow],
  ] as const) {
    if (!options.servers.includes(name)) continue;
    say(`starting ${name}`);
    try {
      servers.push(await startPeer(files));
    } catch (error) {
      const { message } = error as Error;
      process.stderr.write(`\n${name} is missing: ${message}\n`);
      // The last line of what pip or the server printed.
      missing.push({ server: name, why: message.trimEnd().split('\n').at(-1) ?? '' });
    }
  }
  return missing;
}

async function prepareCases({ sklearn }: ForestFiles): Promise<Case[]> {
  const workloads: (readonly RequestReadings[])[] = [];
  for (const rowCount of options.rows) {
    const requestCount = Math.ceil(distinctRowCount / rowCount);
    workloads.push(await simulateRequests({ requestCount, rowCount }));
  }
  const checked = workloads.flatMap((requests) => requests.slice(0, checkedCount));
  const scores = await scoreByScikitLearn(checked, { model: sklearn, folder });
  let start = 0;
  return workloads.flatMap((requests, index) => {
    const rows = options.rows[index] as number;
    const end = start + rows * Math.min(checkedCount, requests.length);
    const expected = scores.subarray(start, end);
    start = end;
    return (['json', 'protobuf'] as const).map((format) => ({ rows, format, requests, expected }));
  });
}

function serversOf({ format }: Case): ModelServer[] {
  return servers.filter(({ formats }) => formats.includes(format));
}

/** Repetitions go round all servers, so that whatever else the machine does hits all of them. */
async function measureCase(each: Case): Promise<Result[]> {
  const { rows, format } = each;
  const rivals = serversOf(each).map((server) => ({
    server,
    load: prepareLoad(server, each),
    repetitions: [] as Repetition[],
  }));
  for (let repetition = 0; repetition <= options.repetitions; repetition += 1) {
    for (const { server, load, repetitions } of rivals) {
      say(`${rows} ${format}: ${repetition}/${options.repetitions} ${server.name}`);
      const measured = await measure(server, load);
      // The first round warms up.
      if (repetition > 0) repetitions.push(measured);
    }
  }
  return rivals.map(({ server, repetitions }) =>
    summarise({ server: server.name, format, rows }, repetitions),
  );
}

function prepareLoad(server: ModelServer, { rows, requests, format }: Case) {
  const sent = requests.map((readings) => server.request(readings, format));
  const bodiesFile = join(folder, `${server.name}-${rows}-${format}`);
  writeFileSync(bodiesFile, packBodies(sent.map(({ body }) => body)));
  return { url: server.url, contentType: sent[0]?.contentType ?? '', bodiesFile };
}

async function measure(server: ModelServer, load: ReturnType<typeof prepareLoad>): Promise<Repetition> {
  const before = processorSeconds(server.pid);
  const measured = await applyLoad({ ...load, seconds: options.seconds });
  const seconds = processorSeconds(server.pid) - before;
  return { ...measured, cpuMicrosecondsPerRequest: (seconds * 1e6) / measured.requestCount };
}

/** What the peers were installed from. */
function lockedVersions(): Record<string, string> {
  const wanted = { fastapi: ['fastapi', 'uvicorn', 'scikit-learn', 'numpy'], mlflow: ['mlflow'] } as const;
  const versions: Record<string, string> = {};
  for (const peer of ['fastapi', 'mlflow'] as const) {
    if (!servers.some(({ name }) => name === peer)) continue;
    const lock = readFileSync(join(import.meta.dir, `requirements-${peer}.lock`), 'utf8');
    for (const name of wanted[peer])
      versions[name] = new RegExp(`^${name}==(\\S+)`, 'm').exec(lock)?.[1] ?? 'unknown';
  }
  return versions;
}

function say(what: string): void {
  if (process.stderr.isTTY) process.stderr.write(`\r\x1b[2K${what} `);
}
