import { expect, test } from 'bun:test';
import { readFileSync } from 'node:fs';
import { compileKernel } from '../build.ts';

const kernel = readFileSync(new URL('../src/kernel.wasm', import.meta.url));

test('src/kernel.wasm is byte for byte what asc makes of assembly/', () => {
  expect(Buffer.from(compileKernel()).equals(kernel)).toBe(true);
}, 120_000);

test('the module imports nothing from its host', async () => {
  expect(WebAssembly.Module.imports(await WebAssembly.compile(kernel))).toEqual([]);
});

test('the module never takes more than 1 GiB of memory', async () => {
  const { instance } = await WebAssembly.instantiate(kernel, {});
  const memory = instance.exports.memory as WebAssembly.Memory;
  expect(() => memory.grow(16_384)).toThrow(RangeError);
});
