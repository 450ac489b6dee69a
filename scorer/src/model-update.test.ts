import { expect, test } from 'bun:test';
import { create, toBinary } from '@bufbuild/protobuf';
import { ModelUpdateSchema } from '@lonetree/proto';
import { decodeModelUpdate } from './model-update.ts';

const text = (value: string) => new TextEncoder().encode(value);
const fields = { name: 'lonetree', version: '4', alias: 'champion', sha256: 'ab', reason: 'ann: summer' };

test('Protobuf and its JSON form say the same, told apart by header or first byte', () => {
  const update = create(ModelUpdateSchema, { ...fields, timeMs: 1_700_000_000_000n });
  const binary = toBinary(ModelUpdateSchema, update);
  const json = text(JSON.stringify({ ...fields, timeMs: '1700000000000', added: 'later' }));
  expect(decodeModelUpdate({ value: binary, headers: {} })).toEqual(update);
  expect(decodeModelUpdate({ value: json, headers: {} })).toEqual(update);
  expect(decodeModelUpdate({ value: json, headers: { 'content-type': text('application/json') } })).toEqual(
    update,
  );
  expect(
    decodeModelUpdate({ value: binary, headers: { 'content-type': text('application/x-protobuf') } }),
  ).toEqual(update);
});

test.each([
  ['no value', null],
  ['an empty value', new Uint8Array()],
  ['cut JSON', text('{"name": "lone')],
  ['JSON of another kind', text('{"name": 7}')],
  ['bytes that are no Protobuf', Uint8Array.of(0xff, 0x00, 0x01)],
  ['more than anybody would announce', new Uint8Array(100_000).fill('{'.charCodeAt(0))],
])('%s is a value that says why', (_, value) => {
  const decoded = decodeModelUpdate({ value, headers: {} });
  expect('rejected' in decoded ? decoded.rejected.length : 0).toBeGreaterThan(5);
});
