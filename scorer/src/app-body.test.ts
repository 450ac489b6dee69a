import { expect, test } from 'bun:test';
import { create, fromBinary, toBinary } from '@bufbuild/protobuf';
import { SensorBatchSchema } from '@lonetree/proto';
import { Hono } from 'hono';
import { firstStation, readBatch } from './app-body.ts';
import { Problem } from './app-problems.ts';

const sizeMax = 100;
const protobuf = { 'content-type': 'application/x-protobuf' };

/** What `readBatch` makes of a request: its bytes, or the problem's status. */
async function read(init: RequestInit): Promise<Uint8Array | number> {
  let result: Uint8Array | number = 0;
  const app = new Hono().post('/', async (context) => {
    result = await readBatch(context, sizeMax).catch((error: unknown) => {
      if (error instanceof Problem) return error.status;
      throw error;
    });
    return context.text('');
  });
  expect((await app.request('/', { method: 'POST', ...init })).status).toBe(200);
  return result;
}

const stream = (...sizes: readonly number[]) =>
  new ReadableStream<Uint8Array>({
    start(controller) {
      for (const size of sizes) controller.enqueue(new Uint8Array(size).fill(7));
      controller.close();
    },
  });

test('a body up to the bound is read, in one piece or in many, with or without its length', async () => {
  const whole = new Uint8Array(sizeMax).fill(7);
  expect(await read({ headers: { ...protobuf, 'content-length': String(sizeMax) }, body: whole })).toEqual(
    whole,
  );
  expect(await read({ headers: protobuf, body: whole })).toEqual(whole);
  expect(new Uint8Array((await read({ headers: protobuf, body: stream(1, 49, 50) })) as Uint8Array)).toEqual(
    whole,
  );
});

test('a body that says it is too large is refused without being read', async () => {
  let isRead = false;
  const body = new ReadableStream<Uint8Array>(
    {
      pull() {
        isRead = true;
      },
    },
    { highWaterMark: 0 },
  );
  expect(await read({ headers: { ...protobuf, 'content-length': String(sizeMax + 1) }, body })).toBe(413);
  expect(isRead).toBe(false);
});

test('an endless body is refused as soon as it is beyond the bound', async () => {
  let chunkCount = 0;
  const body = new ReadableStream<Uint8Array>({
    pull(controller) {
      chunkCount += 1;
      controller.enqueue(new Uint8Array(10));
    },
  });
  expect(await read({ headers: protobuf, body })).toBe(413);
  expect(chunkCount).toBeLessThan(20);
  // Its length says nothing when it comes in chunks.
  const headers = { ...protobuf, 'content-length': '1', 'transfer-encoding': 'chunked' };
  expect(await read({ headers, body: stream(60, 60) })).toBe(413);
});

test('a body that breaks off is the client’s problem', async () => {
  const body = new ReadableStream<Uint8Array>({
    pull(controller) {
      controller.error(new Error('connection lost'));
    },
  });
  expect(await read({ headers: protobuf, body })).toBe(400);
});

test('a request without a body is refused', async () => {
  expect(await read({ headers: protobuf })).toBe(400);
});

test('JSON becomes the batch that it describes', async () => {
  const body = '{"station":"a","time":1795392000000,"values":{"x":1.5}}';
  const batch = await read({ headers: { 'content-type': 'Application/JSON; charset=utf-8' }, body });
  expect(fromBinary(SensorBatchSchema, batch as Uint8Array)).toMatchObject({
    stations: ['a'],
    columns: [{ name: 'x', values: [1.5] }],
  });
});

test('the first station of a batch is found wherever it stands', () => {
  const batch = (fields: { readonly stations: string[] }) =>
    toBinary(SensorBatchSchema, create(SensorBatchSchema, { baseTimeMs: 5n, ...fields }));
  expect(firstStation(batch({ stations: ['Süd 1', 'b'] }))).toBe('Süd 1');
  expect(firstStation(batch({ stations: [] }))).toBeNull();
  // Fields may come in any order: here the time before the stations.
  const backwards = [
    ...batch({ stations: [] }),
    ...toBinary(SensorBatchSchema, create(SensorBatchSchema, { stations: ['z'] })),
  ];
  expect(firstStation(Uint8Array.from(backwards))).toBe('z');
});
