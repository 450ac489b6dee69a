import { Database } from 'bun:sqlite';
import { afterEach, beforeEach, expect, test } from 'bun:test';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DatabaseUnusable, openDatabase } from './sqlite.ts';

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'lonetree-sqlite-'));
});
afterEach(() => rmSync(folder, { recursive: true }));

const file = () => join(folder, 'lonetree.sqlite');

/** A process of its own that opens the file, says so, and keeps it open until its input ends. */
async function openElsewhere() {
  const source = `const { openDatabase } = await import(process.argv[1]);
    const database = openDatabase(process.argv[2]);
    console.log('open');
    for await (const _ of Bun.stdin.stream());
    database.close();`;
  const child = Bun.spawn([process.execPath, '-e', source, join(import.meta.dir, 'sqlite.ts'), folder], {
    stdin: 'pipe',
    stdout: 'pipe',
  });
  const { value } = await child.stdout.getReader().read();
  expect(new TextDecoder().decode(value)).toBe('open\n');
  return child;
}

test('a folder that is not there is made', () => {
  const deep = join(folder, 'a', 'b');
  openDatabase(deep).close();
  openDatabase(deep).close();
});

test('every commit is synced to disk', () => {
  const database = openDatabase(folder);
  expect(database.query('pragma synchronous').values()).toEqual([[2]]);
  expect(database.query('pragma journal_mode').values()).toEqual([['wal']]);
  database.close();
});

test('a second process is refused, and is not after the first was killed', async () => {
  const first = await openElsewhere();
  expect(() => openDatabase(folder)).toThrow(
    `${file()} cannot be used: another process has it open; end that one, or set DATA_DIR to another folder.`,
  );
  first.kill('SIGKILL');
  await first.exited;
  openDatabase(folder).close();
});

test('a file of a newer program is refused and left as it is', () => {
  const database = openDatabase(folder);
  database.run('insert into schema_migration values (1000, 0)');
  database.close();
  for (const _ of [1, 2]) expect(() => openDatabase(folder)).toThrow('schema version 1000');
});

test('a file of the first version keeps its models under their ids, which are of no registered version', () => {
  const old = new Database(file(), { create: true });
  old.run(`create table schema_migration (version integer primary key, applied_at integer not null);
    insert into schema_migration values (1, 0);
    create table model (id integer primary key, sha256 text not null unique, name text not null,
      features text not null, score_offset real not null, first_used_at integer not null);
    insert into model values (3, 'aa', 'old', '["x"]', -0.5, 7), (9, 'bb', 'old', '["x"]', -0.6, 8);`);
  old.close();
  const database = openDatabase(folder);
  const models = database
    .query('select id, sha256, version, first_used_at as at from model order by id')
    .all();
  expect(models).toEqual([
    { id: 3, sha256: 'aa', version: '', at: 7 },
    { id: 9, sha256: 'bb', version: '', at: 8 },
  ]);
  const insert = (version: string) => () =>
    database.run(
      `insert into model (sha256, version, name, features, score_offset) values ('aa', '${version}', '', '', 0)`,
    );
  expect(insert('')).toThrow('UNIQUE');
  insert('1')();
  database.close();
});

test('what is no database is refused and left as it is', async () => {
  const text = 'temperature,humidity\n'.repeat(500);
  writeFileSync(file(), text);
  expect(() => openDatabase(folder)).toThrow('it is damaged or not a SQLite file');
  expect(await Bun.file(file()).text()).toBe(text);
});

test('a folder that cannot be one is refused with what to do', () => {
  writeFileSync(join(folder, 'file'), '');
  const places = [join(folder, 'file'), join(folder, 'file', 'below')];
  for (const place of places) {
    expect(() => openDatabase(place)).toThrow(DatabaseUnusable);
    expect(() => openDatabase(place)).toThrow('set DATA_DIR to a folder');
  }
});

test('a file that cannot be opened is refused with what to do', () => {
  mkdirSync(file());
  expect(() => openDatabase(folder)).toThrow('make its folder writable, or set DATA_DIR');
});
