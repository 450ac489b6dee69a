// Owns one native server: its temporary folder, its processes, and the guard that ends both when we are gone.
import { closeSync, existsSync, mkdtempSync, openSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { freezeTree, killTree, processTree, thawTree } from './process-tree.ts';

const logTailLines = 20;
const pollIntervalMs = 20;

export class Server {
  readonly folder: string;
  readonly #name: string;
  readonly #guard: Bun.Subprocess<'pipe', 'ignore', 'ignore'>;
  #process: Bun.Subprocess | undefined;
  #logStart = 0;

  constructor(name: string) {
    this.#name = name;
    this.folder = mkdtempSync(join(tmpdir(), `lonetree-${name.toLowerCase()}-`));
    this.#guard = Bun.spawn(['sh', join(import.meta.dir, 'guard.sh'), this.folder], {
      stdin: 'pipe',
      stdout: 'ignore',
      stderr: 'ignore',
      cwd: '/',
      detached: true,
    });
    this.#guard.unref();
  }

  /** Starts the program in a process group of its own, with no file descriptor of ours but the log. */
  launch(command: readonly string[], env: Readonly<Record<string, string>> = {}): void {
    if (this.isRunning) throw new Error(`${this.#name} runs already.`);
    this.#logStart = this.#wholeLog().length;
    const launcher = 'echo $$ >"$0/server.pid.new" && mv "$0/server.pid.new" "$0/server.pid" && exec "$@"';
    const log = openSync(this.#logPath, 'a');
    this.#process = Bun.spawn(['sh', '-c', launcher, this.folder, ...command], {
      cwd: this.folder,
      env: { ...process.env, ...env },
      stdin: 'ignore',
      stdout: log,
      stderr: log,
      detached: true,
    });
    this.#process.unref();
    closeSync(log);
  }

  get pid(): number {
    if (this.#process === undefined || !this.isRunning) throw new Error(`${this.#name} does not run.`);
    return this.#process.pid;
  }

  get isRunning(): boolean {
    return (
      this.#process !== undefined && this.#process.exitCode === null && this.#process.signalCode === null
    );
  }

  /** All processes of the server. */
  pids(): number[] {
    return this.isRunning ? processTree(this.pid) : [];
  }

  /** Everything that the server has printed since its last start. */
  log(): string {
    return this.#wholeLog().slice(this.#logStart);
  }

  /** Waits until the server answers; throws the end of its log when it ended or took too long. */
  async untilReady(isReady: () => boolean | Promise<boolean>, deadlineMs: number): Promise<void> {
    const startMs = performance.now();
    while (!(await isReady())) {
      const isLate = performance.now() - startMs > deadlineMs;
      if (isLate || !this.isRunning) {
        const what = isLate ? `was not ready after ${deadlineMs} ms` : 'ended while it started';
        throw new Error(`${this.#name} ${what}. The end of its log:\n${this.#logTail()}`);
      }
      await Bun.sleep(pollIntervalMs);
    }
  }

  /** Waits for a program that ends by itself; answers its exit code, and throws the end of its log when it takes too long. */
  async untilEnded(deadlineMs: number): Promise<number | null> {
    if (this.#process === undefined) throw new Error(`${this.#name} was not started.`);
    const late = Bun.sleep(deadlineMs).then(() => 'late' as const);
    if ((await Promise.race([this.#process.exited, late])) === 'late') {
      throw new Error(
        `${this.#name} had not ended after ${deadlineMs} ms. The end of its log:\n${this.#logTail()}`,
      );
    }
    return this.#process.exitCode;
  }

  /** Ends all processes as a power cut would, and keeps the data. */
  async kill9(): Promise<void> {
    if (!this.isRunning || this.#process === undefined) return;
    await killTree(this.#process.pid);
    await this.#process.exited;
  }

  freeze(): void {
    freezeTree(this.pid);
  }

  thaw(): void {
    thawTree(this.pid);
  }

  /** Ends the server and removes its folder; it cannot be started again. */
  async stop(): Promise<void> {
    await this.kill9();
    // A process that was killed may still be closing files.
    rmSync(this.folder, { recursive: true, force: true, maxRetries: 10 });
    await this.#guard.stdin.end();
    await this.#guard.exited;
  }

  get #logPath(): string {
    return join(this.folder, 'server.log');
  }

  #wholeLog(): string {
    return existsSync(this.#logPath) ? readFileSync(this.#logPath, 'utf8') : '';
  }

  #logTail(): string {
    return this.log().trimEnd().split('\n').slice(-logTailLines).join('\n');
  }
}
