// Load by wrk: distinct bodies in turn, as fast as the server answers. Any answer but a good one ends the benchmark.
import { join } from 'node:path';
import { ensurePackages } from '@lonetree/devstack';
import { z } from 'zod';

export type Load = {
  readonly requestCount: number;
  readonly requestsPerSecond: number;
  readonly p50Ms: number;
  readonly p99Ms: number;
  /** Share of a core that wrk itself took: near 1 it was wrk that could not do more. */
  readonly generatorCpu: number;
};

export type LoadOptions = {
  readonly url: string;
  readonly contentType: string;
  /** As `packBodies` makes it. */
  readonly bodiesFile: string;
  readonly seconds: number;
};

export const connectionCount = 16;
const answerTimeoutSeconds = 10;

/** What rotate.lua prints: microseconds. */
const reportSchema = z.object({
  requests: z.int(),
  duration: z.number(),
  p50: z.number(),
  p99: z.number(),
  errors: z.record(z.string(), z.int()),
});

export async function ensureWrk(): Promise<string> {
  await ensurePackages({ what: 'wrk', packages: ['wrk'], isThere: () => Bun.which('wrk') !== null });
  const version = await Bun.spawn(['wrk', '--version'], { stdout: 'pipe', stderr: 'ignore' }).stdout.text();
  return version.split(/\s+/)[1] ?? 'unknown';
}

/** Bodies of any bytes in one file: each one's size in decimal, a line feed, its bytes. */
export function packBodies(bodies: readonly Uint8Array[]): Uint8Array {
  return Buffer.concat(bodies.flatMap((body) => [Buffer.from(`${body.length}\n`), body]));
}

export async function applyLoad({ url, contentType, bodiesFile, seconds }: LoadOptions): Promise<Load> {
  const script = join(import.meta.dir, 'rotate.lua');
  const child = Bun.spawn(
    [
      ...['wrk', '--threads', '1', '--connections', String(connectionCount)],
      ...['--duration', `${seconds}s`, '--timeout', `${answerTimeoutSeconds}s`],
      ...['--script', script, url, '--', bodiesFile, contentType],
    ],
    { stdin: 'ignore', stdout: 'pipe', stderr: 'pipe' },
  );
  const [output, complaint, exitCode] = await Promise.all([
    child.stdout.text(),
    child.stderr.text(),
    child.exited,
  ]);
  if (exitCode !== 0) throw new Error(`wrk ended with ${exitCode}: ${output}${complaint}`);
  const { requests, duration, p50, p99, errors } = reportSchema.parse(
    JSON.parse(output.trimEnd().split('\n').at(-1) ?? ''),
  );
  const bad = Object.entries(errors).filter(([, count]) => count > 0);
  if (bad.length > 0 || requests === 0) {
    const list = bad.map(([kind, count]) => `${count} × ${kind}`).join(', ');
    throw new Error(`${url} answered ${requests} requests, and not all of them well: ${list}`);
  }
  return {
    requestCount: requests,
    requestsPerSecond: (requests / duration) * 1e6,
    p50Ms: p50 / 1_000,
    p99Ms: p99 / 1_000,
    generatorCpu: Number(child.resourceUsage()?.cpuTime.total ?? 0) / duration,
  };
}
