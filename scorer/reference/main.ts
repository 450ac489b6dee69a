// `bun run build:docs`: writes the references that are generated from the code.
import { join } from 'node:path';
import { takeNoArguments } from '@lonetree/devstack';
import { references } from './references.ts';

takeNoArguments(
  'bun run build:docs\n\nWrites the references that are generated from the code, and prints their names.',
);
for (const { file, describe } of references) {
  await Bun.write(join(import.meta.dir, '..', '..', file), await describe());
  console.log(file);
}
process.exit(0); // The metrics of the process keep it alive.
