import { expect, test } from 'bun:test';
import { fromBinary, toBinary } from '@bufbuild/protobuf';
import { SensorBatchSchema } from '@lonetree/proto';
import { encodeJsonReadings } from './reading-json.ts';

const encode = (document: unknown, options = {}) =>
  encodeJsonReadings(
    new TextEncoder().encode(typeof document === 'string' ? document : JSON.stringify(document)),
    options,
  );

function decoded(document: unknown, options = {}) {
  const result = encode(document, options);
  if ('rejected' in result) throw new Error(`refused: ${result.rejected.detail}`);
  return fromBinary(SensorBatchSchema, result.batch);
}

const refusal = (document: unknown, options = {}) => {
  const result = encode(document, options);
  return 'rejected' in result ? result.rejected : null;
};

const time = Date.UTC(2026, 10, 23);

test('a reading with values becomes a batch of one', () => {
  const batch = decoded({ station: 's1', time, values: { temperature: 28.5, humidity: null } });
  expect(batch.stations).toEqual(['s1']);
  expect(batch.baseTimeMs + (batch.timeDeltasMs[0] ?? 0n)).toBe(BigInt(time));
  expect(batch.columns.map(({ name, values }) => [name, ...values])).toEqual([
    ['temperature', 28.5],
    ['humidity', Number.NaN],
  ]);
});

test('a flat reading takes its numbers as features and leaves the rest', () => {
  const batch = decoded({
    station: 's1',
    time,
    temperature: 28.5,
    quality: 'good',
    alarm: true,
    sound: null,
  });
  expect(batch.columns.map(({ name }) => name)).toEqual(['temperature', 'sound']);
});

test('a reading without a time takes that of its message, and is refused where there is none', () => {
  expect(decoded({ station: 's1', temperature: 1 }, { fallbackTimeMs: time }).baseTimeMs).toBe(BigInt(time));
  expect(refusal({ station: 's1', temperature: 1 })?.reason).toBe('time-out-of-range');
});

test('ISO 8601 text is a time', () => {
  expect(decoded({ station: 's1', time: '2026-11-23T00:00:00Z', temperature: 1 }).baseTimeMs).toBe(
    BigInt(time),
  );
});

test('text that is no ISO 8601 is no time, and the refusal quotes it', () => {
  for (const text of ['5', '1795420800000', '11/23/2026 08:00', 'Nov 23 2026', '2026-02-30']) {
    const refused = refusal({ station: 's1', time: text, temperature: 1 });
    expect(refused?.reason).toBe('time-out-of-range');
    expect(refused?.detail).toContain(`"${text}"`);
  }
});

test('what stands in the place of a station or a value is quoted as it was sent', () => {
  expect(refusal({ station: 5, time, temperature: 1 })?.detail).toContain('the "station" 5:');
  expect(refusal({ station: '', time, temperature: 1 })?.detail).toContain('the "station" "":');
  expect(refusal({ station: 's1', time, values: { temperature: '28' } })?.detail).toContain(
    '"temperature" is "28"',
  );
});

test('several readings share a dictionary of stations and follow each other in time', () => {
  const batch = decoded({
    readings: [
      { station: 'b', time, values: { t: 1 } },
      { station: 'a', time: time + 5, values: { t: 2 } },
      { station: 'b', time: time - 7, values: { t: 3 } },
    ],
  });
  expect(batch.stations).toEqual(['b', 'a']);
  expect(batch.stationIndices).toEqual([0, 1, 0]);
  expect(batch.timeDeltasMs).toEqual([0n, 5n, -12n]);
});

test('what cannot be read is refused with a reason that says what and where', () => {
  expect(refusal('{"station"')).toMatchObject({ reason: 'bad-json' });
  expect(refusal('[]')).toMatchObject({ reason: 'no-readings' });
  expect(refusal([])).toMatchObject({ reason: 'no-readings' });
  expect(refusal(7)).toMatchObject({ reason: 'bad-json' });
  expect(refusal({ time, temperature: 1 })).toMatchObject({ reason: 'no-station' });
  expect(refusal({ station: 's1', time: 'yesterday', temperature: 1 })).toMatchObject({
    reason: 'time-out-of-range',
  });
  expect(refusal({ station: 's1', time: 1e300, temperature: 1 })).toMatchObject({
    reason: 'time-out-of-range',
  });
  expect(refusal({ station: 's1', time, values: { temperature: '28' } })?.detail).toContain(
    'Reading 0: "temperature" is "28", not a number',
  );
  expect(
    refusal([
      { station: 's', time, values: { t: 1 } },
      { station: 's', time, values: { u: 1 } },
    ])?.detail,
  ).toContain('Reading 1 lacks "t"');
  expect(encodeJsonReadings(Uint8Array.of(0x7b, 0xff, 0xfe))).toMatchObject({
    rejected: { reason: 'bad-json' },
  });
});

test('200,000 levels of nesting are refused, not a crash', () => {
  for (const open of ['[', '{"values":']) expect(refusal(open.repeat(200_000))?.reason).toBe('bad-json');
  const closed = '['.repeat(200_000) + ']'.repeat(200_000);
  expect(refusal(closed)).not.toBeNull();
});

test('the bytes are those that the message library writes', () => {
  const day = 86_400_000;
  const documents = [
    { station: 'Süd 1', time, values: { t: 1e300, u: -1e300, v: 1e-50, w: -0, x: null } },
    [
      { station: 'a', time, values: { t: 28.1, u: 1 } },
      { station: 'ß'.repeat(200), time: time + 40 * day, values: { u: 2, t: null } },
      { station: 'a', time: time - 40 * day, values: { t: 3, u: 3 } },
      { station: 'a', time: time - 40 * day, values: { t: 3, u: 3 } },
    ],
    Array.from({ length: 300 }, (_, row) => ({ station: `s${row}`, time: time + row, t: row / 3 })),
    { station: 's', time, values: {} },
  ];
  for (const document of documents) {
    const result = encode(document);
    if ('rejected' in result) throw new Error(`refused: ${result.rejected.detail}`);
    expect(result.batch).toEqual(toBinary(SensorBatchSchema, fromBinary(SensorBatchSchema, result.batch)));
  }
  const [, several] = documents;
  const { columns, timeDeltasMs } = decoded(several);
  expect(columns.map(({ values }) => values)).toEqual([
    [Math.fround(28.1), Number.NaN, 3, 3],
    [1, 2, 3, 3],
  ]);
  expect(timeDeltasMs).toEqual([0n, BigInt(40 * day), BigInt(-80 * day), 0n]);
});

test('a reading that names more or other features than the first is refused and says which', () => {
  const first = { station: 's', time, values: { t: 1, constructor: 2 } };
  const differing = (values: object) => refusal([first, { ...first, values }]);
  expect(differing({ t: 1, constructor: 2, u: 3 })?.detail).toContain('has "u", which reading 0 has not');
  expect(differing({ t: 1, u: 3 })?.detail).toContain('lacks "constructor"');
  expect(differing({ constructor: 2, t: 1 })).toBeNull();
});

test('a name such as __proto__ is a name like any other', () => {
  const batch = decoded(
    `{"station":"s1","time":${time},"values":{"__proto__":3,"constructor":4,"rejected":5}}`,
  );
  expect(batch.columns.map(({ name, values }) => [name, ...values])).toEqual([
    ['__proto__', 3],
    ['constructor', 4],
    ['rejected', 5],
  ]);
});
