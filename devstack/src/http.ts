// Starts programs that serve HTTP, and waits until they answer.
import type { Server } from './server.ts';

const probeTimeoutMs = 2_000;

/** Starts the program and waits until `url` answers with a success. */
export async function launchHttp(
  server: Server,
  options: {
    readonly command: readonly string[];
    readonly env?: Readonly<Record<string, string>>;
    readonly readyUrl: string;
    readonly deadlineMs: number;
  },
): Promise<void> {
  server.launch(options.command, options.env);
  const isReady = () =>
    fetch(options.readyUrl, { signal: AbortSignal.timeout(probeTimeoutMs) }).then(
      ({ ok }) => ok,
      () => false, // It does not listen yet.
    );
  await server.untilReady(isReady, options.deadlineMs);
}
