// Starts the generator process and hands it one step after the other.
import { join } from 'node:path';
import type { GeneratorAnswer, SentStep, StepPlan } from './generator-protocol.ts';

export type GeneratorListeners = {
  onStarted(): void;
  onProgress(sentMessages: number): void;
};

export type Generator = {
  readonly pid: number;
  run(plan: StepPlan, listeners: GeneratorListeners): Promise<SentStep>;
  stop(): Promise<void>;
};

export async function startGenerator(): Promise<Generator> {
  const started = Promise.withResolvers<void>();
  let listen: (answer: GeneratorAnswer) => void = (answer) => {
    if (answer.kind === 'ready') started.resolve();
    else started.reject(new Error(`The generator did not start: ${JSON.stringify(answer)}`));
  };
  const child = Bun.spawn([process.execPath, join(import.meta.dir, 'generator.ts')], {
    stdin: 'ignore',
    stdout: 'inherit',
    stderr: 'inherit',
    serialization: 'advanced',
    ipc: (answer: GeneratorAnswer) => listen(answer),
    onExit: (_child, exitCode, signal) =>
      listen({ kind: 'failed', message: `it ended with ${exitCode ?? signal}` }),
  });
  await started.promise;
  return {
    pid: child.pid,
    run(plan, { onStarted, onProgress }) {
      const { promise, resolve, reject } = Promise.withResolvers<SentStep>();
      listen = (answer) => {
        switch (answer.kind) {
          case 'started':
            return onStarted();
          case 'progress':
            return onProgress(answer.sentMessages);
          case 'sent':
            return resolve(answer);
          case 'failed':
            return reject(new Error(`The generator failed: ${answer.message}`));
          case 'ready':
            return reject(new Error('The generator started a second time.'));
        }
      };
      child.send(plan);
      return promise;
    },
    async stop() {
      child.kill('SIGTERM');
      await child.exited;
    },
  };
}
