// Proves the generator against its published vectors, and that streams are independent.
import { describe, expect, test } from 'bun:test';
import { createStream, philox, type Words } from './random.ts';

// philox4x32-10 of kat_vectors in the authors' library Random123: counter, key, output.
const VECTORS = [
  ['00000000 00000000 00000000 00000000', '00000000 00000000', '6627e8d5 e169c58d bc57ac4c 9b00dbd8'],
  ['ffffffff ffffffff ffffffff ffffffff', 'ffffffff ffffffff', '408f276d 41c83b0e a20bc7c6 6d5451fd'],
  ['243f6a88 85a308d3 13198a2e 03707344', 'a4093822 299f31d0', 'd16cfe09 94fdcceb 5001e420 24126ea1'],
] as const;

describe('random', () => {
  test.each(VECTORS)('philox of counter %s and key %s is the published %s', (counter, key, expected) => {
    const words = (text: string): number[] => text.split(' ').map((word) => Number.parseInt(word, 16));
    const out = new Uint32Array(4);
    philox(words(counter) as unknown as Words, words(key) as [number, number], out);
    expect([...out]).toEqual(words(expected));
  });

  test('the same place gives the same draws, in whatever order places are visited', () => {
    const stream = createStream(7, 'signal');
    const first = [...stream.at(3, 5)];
    stream.at(9, 1);
    expect([...stream.at(3, 5)]).toEqual(first);
  });

  test('another seed, another name and another place give other draws', () => {
    const draws = [
      createStream(7, 'signal').at(1, 2),
      createStream(8, 'signal').at(1, 2),
      createStream(7 + 2 ** 32, 'signal').at(1, 2),
      createStream(7, 'faults').at(1, 2),
      createStream(7, 'signal').at(2, 1),
      createStream(7, 'signal').at(1 + 2 ** 32, 2),
    ].map(String);
    expect(new Set(draws).size).toBe(draws.length);
  });

  test('draws are uniform and never 0 or 1', () => {
    const stream = createStream(1, 'signal');
    const counts = Array.from({ length: 10 }, () => 0);
    for (let index = 0; index < 25_000; index++) {
      for (const draw of stream.at(index, 0)) {
        expect(draw > 0 && draw < 1).toBe(true);
        counts[Math.floor(draw * 10)] = (counts[Math.floor(draw * 10)] as number) + 1;
      }
    }
    const chiSquare = counts.reduce((sum, count) => sum + (count - 10_000) ** 2 / 10_000, 0);
    // 9 degrees of freedom: above 27.9 once in a thousand seeds.
    expect(chiSquare).toBeLessThan(27.9);
  });

  test.each([-1, 0.5, Number.NaN, 2 ** 53])('refuses the seed %p', (seed) => {
    expect(() => createStream(seed, 'signal')).toThrow('whole number');
  });
});
