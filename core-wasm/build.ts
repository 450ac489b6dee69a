// Compiles assembly/ to src/kernel.wasm, which is kept in the repository so that a scorer needs no compiler.
// `bun core-wasm/build.ts --check` answers 1 when the file is not what the sources give.
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { readArguments } from '@lonetree/devstack';

/** What asc makes of the sources; throws what it prints when they do not compile. */
export function compileKernel(): Uint8Array {
  const directory = mkdtempSync(join(tmpdir(), 'lonetree-wasm-'));
  try {
    const output = join(directory, 'kernel.wasm');
    const options = [
      '-O3',
      '--converge',
      '--enable',
      'simd',
      '--runtime',
      'stub',
      '--noAssert',
      '--pedantic',
      '--use',
      'abort=',
      '--maximumMemory',
      '16384',
    ];
    const asc = Bun.resolveSync('assemblyscript/bin/asc.js', import.meta.dir);
    const built = Bun.spawnSync(
      [process.execPath, asc, 'assembly/index.ts', ...options, '--outFile', output],
      { cwd: import.meta.dir },
    );
    if (!built.success) throw new Error(`asc failed:\n${built.stderr.toString()}${built.stdout.toString()}`);
    return readFileSync(output);
  } finally {
    rmSync(directory, { recursive: true });
  }
}

if (import.meta.main) {
  const usage = `bun run build:wasm [--check]

Compiles core-wasm/assembly to core-wasm/src/kernel.wasm; --check only compares, and exits 1 when they differ.`;
  const { values } = readArguments(usage, (args) =>
    parseArgs({ args, options: { check: { type: 'boolean' } } }),
  );
  const target = join(import.meta.dir, 'src', 'kernel.wasm');
  const kernel = compileKernel();
  if (values.check === true) {
    if (!Buffer.from(kernel).equals(readFileSync(target))) {
      console.error(
        'core-wasm/src/kernel.wasm is not what core-wasm/assembly gives: run `bun run build:wasm` and commit it.',
      );
      process.exit(1);
    }
  } else {
    await Bun.write(target, kernel);
    console.error(`core-wasm/src/kernel.wasm: ${kernel.length} bytes`);
  }
}
