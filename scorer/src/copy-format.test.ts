import { expect, test } from 'bun:test';
import type { Block } from '@lonetree/core-wasm';
import { encodePredictions } from './copy-format.ts';

const utf8 = new TextEncoder();
const stations = utf8.encode('aé');

// Two messages: one row of station "a", two rows of station "é". Each value has a bit pattern of its own.
const block = {
  rowCount: 3,
  featureCount: 2,
  valueStride: 4, // Longer than the features: what lies between is no value.
  values: Float32Array.of(1.5, Number.NaN, 99, 99, -2, 0.1, 99, 99, 0, -0, 99, 99),
  times: Float64Array.of(Date.UTC(2000, 0), Date.UTC(2000, 0) + 1, Date.UTC(2026, 10, 23)),
  scores: Float64Array.of(-0.5, -1, -0.1),
  severities: Float32Array.of(3, Number.NaN, 0.5),
  isAnomaly: Uint8Array.of(1, 0, 0),
  memory: stations,
  stationStart: Uint32Array.of(0, 1, 1),
  stationLength: Uint32Array.of(1, 2, 2),
} as unknown as Block;

const verdicts = {
  partition: 6,
  from: 0n,
  next: (1n << 32n) + 3n,
  modelId: 258,
  modelOffset: 0,
  anomalies: [],
  block,
  segments: [
    { offset: 7n, rowStart: 0, rowCount: 1 },
    { offset: (1n << 32n) + 2n, rowStart: 1, rowCount: 2 },
  ],
};

// As the manual of PostgreSQL has it, by hand. A field is its length in four bytes, then its bytes; −1 is NULL.
const header = '5047434f50590aff0d0a00 00000000 00000000';
const array = (size: string, hasNull: string) => `${size} 00000001 ${hasNull} 000002bc 00000002 00000001`;
const expected = `${header}
  000b
  00000001 74
  00000004 00000006
  00000008 0000000000000007
  00000004 00000000
  00000008 0000000000000000
  00000001 61
  ${array('00000020', '00000001')} 00000004 3fc00000 ffffffff
  00000008 bfe0000000000000
  00000004 40400000
  00000001 01
  00000004 00000102

  000b
  00000001 74
  00000004 00000006
  00000008 0000000100000002
  00000004 00000000
  00000008 00000000000003e8
  00000002 c3a9
  ${array('00000024', '00000000')} 00000004 c0000000 00000004 3dcccccd
  00000008 bff0000000000000
  ffffffff
  00000001 00
  00000004 00000102

  000b
  00000001 74
  00000004 00000006
  00000008 0000000100000002
  00000004 00000001
  00000008 000303e50b2ca000
  00000002 c3a9
  ${array('00000024', '00000000')} 00000004 00000000 00000004 80000000
  00000008 bfb999999999999a
  00000004 3f000000
  00000001 00
  00000004 00000102

  ffff`;

test('a block is encoded as the manual of PostgreSQL says', () => {
  const bytes = Buffer.from(encodePredictions('t', verdicts)).toString('hex');
  expect(bytes).toBe(expected.replaceAll(/\s/g, ''));
});

test('a block without a reading is a header and a trailer', () => {
  const empty = {
    ...verdicts,
    block: { ...block, rowCount: 0, stationLength: new Uint32Array() },
    segments: [],
  };
  const bytes = Buffer.from(encodePredictions('t', empty)).toString('hex');
  expect(bytes).toBe(`${header.replaceAll(' ', '')}ffff`);
});
