// Proves delivery to a real HTTP server on loopback: order, retries and their bounds.
import { afterEach, describe, expect, test } from 'bun:test';
import { fromBinary } from '@bufbuild/protobuf';
import { SensorBatchSchema } from '@lonetree/proto';
import { createBatcher, type SimulatedMessage } from './batch.ts';
import { FEATURES } from './distribution.ts';
import { createFleet } from './fleet.ts';
import { createHttpPublisher } from './http-publisher.ts';
import type { Clock } from './pace.ts';

/** Does not wait, but remembers how long it was to. */
function impatientClock(): Clock & { readonly sleeps: number[] } {
  const sleeps: number[] = [];
  return {
    sleeps,
    nowMs: () => 0,
    sleep: async (durationMs) => {
      sleeps.push(durationMs);
    },
  };
}

function someMessages(count: number): SimulatedMessage[] {
  const fleet = createFleet({
    stationCount: 3,
    seed: 1,
    mode: 'independent',
    intervalMs: 1_000,
    startMs: 0,
    faults: null,
  });
  const batcher = createBatcher({
    stations: fleet.stations,
    features: FEATURES,
    batchSize: 1,
    gatewayCount: 0,
    isStaggered: false,
  });
  return Array.from({ length: count }, (_, index) => batcher.add(fleet.next(), index) as SimulatedMessage);
}

let server: Bun.Server<undefined> | null = null;
afterEach(() => server?.stop(true));

function serve(answer: (request: Request, attempt: number) => Response | Promise<Response>): string {
  let attempt = 0;
  server = Bun.serve({ hostname: '127.0.0.1', port: 0, fetch: (request) => answer(request, ++attempt) });
  return server.url.href;
}

async function deliver(url: string, messages: readonly SimulatedMessage[]) {
  const clock = impatientClock();
  const told: string[] = [];
  const publisher = createHttpPublisher({
    url,
    clock,
    signal: new AbortController().signal,
    onUnreachable: (line) => told.push(line),
  });
  await publisher.publish(messages);
  await publisher.close();
  return { delivery: publisher.delivery, sleeps: clock.sleeps, told };
}

describe('http publisher', () => {
  test('sends every message once, in order per station', async () => {
    const arrived: { station: string; timeMs: number }[] = [];
    const url = serve(async (request) => {
      expect(new URL(request.url).pathname).toBe('/v1/readings');
      expect(request.method).toBe('POST');
      expect(request.headers.get('content-type')).toBe('application/x-protobuf');
      const batch = fromBinary(SensorBatchSchema, new Uint8Array(await request.arrayBuffer()));
      await Bun.sleep(Math.random() * 3);
      arrived.push({ station: batch.stations[0] as string, timeMs: Number(batch.baseTimeMs) });
      return new Response(null, { status: 202 });
    });
    const { delivery } = await deliver(url, someMessages(60));
    expect(delivery).toEqual({
      acknowledgedMessages: 60,
      failedMessages: 0,
      failedReadings: 0,
      unconfirmedMessages: 0,
      unconfirmedReadings: 0,
      lastError: null,
    });
    for (const station of ['station-001', 'station-002', 'station-003']) {
      const times = arrived.filter((each) => each.station === station).map(({ timeMs }) => timeMs);
      expect(times.length).toBe(20);
      expect(times).toEqual(times.toSorted((left, right) => left - right));
    }
  });

  test.each([429, 503])('asks again, less and less often, when the scorer answers %p', async (status) => {
    const url = serve((_, attempt) => new Response('busy', { status: attempt <= 3 ? status : 202 }));
    const { delivery, sleeps } = await deliver(url, someMessages(1));
    expect(delivery.acknowledgedMessages).toBe(1);
    expect(sleeps).toEqual([100, 200, 400]);
  });

  test('waits as long as Retry-After says, within its own bound', async () => {
    const url = serve((_, attempt) =>
      attempt <= 2
        ? new Response('busy', { status: 503, headers: { 'retry-after': attempt === 1 ? '2' : '600' } })
        : new Response(null, { status: 202 }),
    );
    expect((await deliver(url, someMessages(1))).sleeps).toEqual([2_000, 5_000]);
  });

  test('gives up on a scorer that stays busy, and says how often it asked', async () => {
    const url = serve(() => new Response('no model yet', { status: 503 }));
    const { delivery, sleeps } = await deliver(url, someMessages(1));
    expect(delivery.failedMessages).toBe(1);
    expect(delivery.lastError).toContain('answered 503 no model yet (8 tries)');
    expect(sleeps.length).toBe(7);
  });

  test('never repeats what was refused', async () => {
    let count = 0;
    const url = serve(() => {
      count += 1;
      return new Response('missing feature', { status: 422 });
    });
    const { delivery } = await deliver(url, someMessages(2));
    expect(count).toBe(2);
    expect(delivery).toMatchObject({ acknowledgedMessages: 0, failedMessages: 2, failedReadings: 2 });
    expect(delivery.lastError).toContain('answered 422 missing feature');
  });

  test.each([500, 502, 504])('never repeats what %p leaves open, and counts it apart', async (status) => {
    let count = 0;
    const url = serve(() => {
      count += 1;
      return new Response('may or may not have been taken', { status });
    });
    const { delivery } = await deliver(url, someMessages(2));
    expect(count).toBe(2);
    expect(delivery).toMatchObject({ acknowledgedMessages: 0, failedMessages: 0, failedReadings: 0 });
    expect(delivery).toMatchObject({ unconfirmedMessages: 2, unconfirmedReadings: 2 });
    expect(delivery.lastError).toContain(`answered ${status} may or may not have been taken`);
  });

  test('never repeats a request whose connection broke before its answer', async () => {
    let count = 0;
    const listener = Bun.listen({
      hostname: '127.0.0.1',
      port: 0,
      socket: {
        data(socket) {
          count += 1;
          socket.terminate();
        },
      },
    });
    const { delivery } = await deliver(`http://127.0.0.1:${listener.port}`, someMessages(1));
    listener.stop(true);
    expect(count).toBe(1);
    expect(delivery).toMatchObject({ acknowledgedMessages: 0, failedMessages: 0, unconfirmedMessages: 1 });
  });

  test('asks again, within bounds, when nobody listens', async () => {
    const url = serve(() => new Response());
    await server?.stop(true);
    const { delivery, sleeps, told } = await deliver(url, someMessages(2));
    expect(delivery.failedMessages).toBe(2);
    expect(told.length).toBe(1); // At once, so that nobody looks at a silent terminal.
    expect(told[0]).toContain(`Nothing answers at ${new URL(url).origin}:`);
    expect(delivery.lastError).toBe(
      `Nothing answers at ${new URL(url).origin}: start the scorer, or say by --url where it is. (8 tries)`,
    );
    expect(sleeps.length).toBe(14);
  });
});
