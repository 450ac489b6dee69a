import { afterEach, expect, test } from 'bun:test';
import { existsSync } from 'node:fs';
import { Server } from './server.ts';

const deadlineMs = 10_000;
const echo = (word: string) => ['sh', '-c', `echo ${word}; sleep 600 & wait`];
let server: Server;
afterEach(() => server.stop());

test('the log is what the server has said since its last start', async () => {
  server = new Server('Echo');
  for (const word of ['first', 'second', 'third']) {
    server.launch(echo(word));
    await server.untilReady(() => server.log() !== '', deadlineMs);
    expect(server.log()).toBe(`${word}\n`);
    await server.kill9();
  }
});

test('kill9 ends the children with the server', async () => {
  server = new Server('Echo');
  server.launch(echo('ready'));
  await server.untilReady(() => server.pids().length === 2, deadlineMs);
  await server.kill9();
  expect(server.isRunning).toBe(false);
  expect(server.pids()).toEqual([]);
});

test('a server that ends while it starts is reported with the end of its log', async () => {
  server = new Server('Echo');
  server.launch(['sh', '-c', 'echo no such topic; exit 3']);
  await expect(server.untilReady(() => false, deadlineMs)).rejects.toThrow(
    'Echo ended while it started. The end of its log:\nno such topic',
  );
});

test('a server that is not ready in time is reported', async () => {
  server = new Server('Echo');
  server.launch(echo('slowly'));
  await server.untilReady(() => server.log() !== '', deadlineMs);
  await expect(server.untilReady(() => false, 1)).rejects.toThrow('Echo was not ready after 1 ms.');
});

test('what runs cannot be launched twice, and what does not run has no process id', async () => {
  server = new Server('Echo');
  expect(() => server.pid).toThrow('Echo does not run.');
  server.launch(echo('ready'));
  expect(() => server.launch(echo('again'))).toThrow('Echo runs already.');
});

test('a stopped server has no folder', async () => {
  server = new Server('Echo');
  expect(existsSync(server.folder)).toBe(true);
  server.launch(echo('ready'));
  await server.stop();
  expect(existsSync(server.folder)).toBe(false);
});
