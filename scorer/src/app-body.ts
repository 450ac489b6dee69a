// From the body of a request to a SensorBatch, bounded before it is read. What the batch is worth, the engine decides.
import { BinaryReader } from '@bufbuild/protobuf/wire';
import { SensorBatchSchema } from '@lonetree/proto';
import type { Context } from 'hono';
import { Problem, refusedReadings } from './app-problems.ts';
import { encodeJsonReadings } from './reading-json.ts';

/** The body as a SensorBatch in Protobuf, which JSON becomes. Throws a Problem. */
export async function readBatch(context: Context, sizeMax: number): Promise<Uint8Array> {
  const type = (context.req.header('content-type') ?? '').split(';', 1)[0]?.trim().toLowerCase();
  const encoding = context.req.header('content-encoding') ?? 'identity';
  const isJson = type === 'application/json';
  // Nothing is unpacked: what is small here could be of any size there.
  if (encoding !== 'identity') {
    const detail = `Send the body as it is, not as ${encoding}.`;
    throw new Problem(415, 'The content encoding is not supported', detail);
  }
  if (!isJson && type !== 'application/x-protobuf' && type !== 'application/protobuf') {
    const detail = 'Send application/json, or a SensorBatch as application/x-protobuf.';
    throw new Problem(415, 'The content type is not supported', detail);
  }
  const body = await readBody(context.req.raw, sizeMax);
  if (body.length === 0)
    throw refusedReadings({ reason: 'empty-message', detail: 'The body is empty: send readings in it.' });
  if (!isJson) return body;
  const encoded = encodeJsonReadings(body, { fallbackTimeMs: Date.now() });
  if ('rejected' in encoded) throw refusedReadings(encoded.rejected);
  return encoded.batch;
}

/** The body's bytes. Throws a Problem when they are more, or end too early. */
export function readBody(request: Request, sizeMax: number): Promise<Uint8Array> {
  const { headers } = request;
  const size = headers.get('content-length');
  // Of a body in chunks it says nothing.
  if (size === null || headers.has('transfer-encoding')) return readChunks(request.body, sizeMax);
  if (Number(size) > sizeMax) throw tooLarge(sizeMax);
  return request.bytes().catch(brokenOff);
}

/** The size is not known before the end. */
async function readChunks(body: Request['body'], sizeMax: number): Promise<Uint8Array> {
  const chunks: Uint8Array[] = [];
  let readSize = 0;
  const reader = body?.getReader();
  for (;;) {
    const { value } = (await reader?.read().catch(brokenOff)) ?? {};
    if (value === undefined) return Buffer.concat(chunks);
    readSize += value.length;
    if (readSize > sizeMax) throw tooLarge(sizeMax);
    chunks.push(value);
  }
}

function tooLarge(sizeMax: number): Problem {
  const detail = `The most is ${sizeMax} bytes: send less at once.`;
  return new Problem(413, 'The body is too large', detail, { reason: 'too-large' });
}

function brokenOff(cause: Error): never {
  const detail = `The body ended before its end (${cause.message}): send it again.`;
  throw new Problem(400, 'The body cannot be read', detail);
}

/** The first station that a batch names: the key that keeps one sender's batches in their order. */
export function firstStation(batch: Uint8Array): string | null {
  const reader = new BinaryReader(batch);
  while (reader.pos < reader.len) {
    const [field, wireType] = reader.tag();
    if (field === SensorBatchSchema.field.stations.number) return reader.string();
    reader.skip(wireType, field);
  }
  return null;
}
