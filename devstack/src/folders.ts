// Where the project and the tools that it brings for itself live.
import { dirname, join } from 'node:path';

export const projectFolder = dirname(dirname(import.meta.dir));

/** Downloaded programs: never committed, safe to delete. */
export const toolsFolder = join(projectFolder, '.tools');
