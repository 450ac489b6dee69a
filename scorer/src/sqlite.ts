// The one SQLite file of the embedded mode: opening, locking and its tables. Log and store are two views of it.
import { Database } from 'bun:sqlite';
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';

export type { Database } from 'bun:sqlite';

/** Numbered steps. A step that has been released is never changed: add the next one. */
const migrations: readonly string[] = [
  `
  create table log (
    topic    text not null,
    "offset" integer not null,
    time_ms  integer not null,
    key      blob,
    value    blob,
    headers  text not null,
    primary key (topic, "offset")
  ) without rowid;
  create table log_end (topic text primary key, next_offset integer not null) without rowid;
  create table model (
    id            integer primary key,
    sha256        text not null unique,
    name          text not null,
    features      text not null,
    score_offset  real not null,
    first_used_at integer not null default (unixepoch('subsec') * 1000)
  );
  -- reading_count: how many readings the consumer has stored so far, those that were deleted since among them.
  create table consumer_offset (
    consumer      text not null,
    topic         text not null,
    partition     integer not null,
    next_offset   integer not null,
    block_offset  integer not null,
    reading_count integer not null default 0,
    primary key (consumer, topic, partition)
  ) without rowid;
  create table position_gap (
    consumer    text not null,
    topic       text not null,
    partition   integer not null,
    from_offset integer not null,
    to_offset   integer not null,
    found_at    integer not null default (unixepoch('subsec') * 1000)
  );
  -- Rows lie in the order in which they were stored: the clean-up takes the first ones and needs no index.
  create table prediction (
    topic      text not null,
    partition  integer not null,
    "offset"   integer not null,
    row        integer not null,
    time       integer not null,
    station    text not null,
    "values"   text not null,
    score      real not null,
    severity   real,
    is_anomaly integer not null,
    model_id   integer not null,
    stored_at  integer not null
  );
  create index prediction_time on prediction (time);
  create index prediction_station on prediction (station, time);
  create table anomaly (
    id        text not null,
    topic     text not null,
    partition integer not null,
    "offset"  integer not null,
    row       integer not null,
    time      integer not null,
    station   text not null,
    "values"  text not null,
    score     real not null,
    decision  real not null,
    severity  real,
    reasons   text not null,
    model_id  integer not null,
    stored_at integer not null
  );
  create index anomaly_place on anomaly (topic, partition, "offset");
  create index anomaly_time on anomaly (time);
  create index anomaly_station on anomaly (station, time);
  `,
  `
  -- A table of its own, as a column cannot leave the unique key that it is in. version: in the registry; empty for a file.
  create table versioned_model (
    id            integer primary key,
    sha256        text not null,
    version       text not null,
    name          text not null,
    features      text not null,
    score_offset  real not null,
    first_used_at integer not null default (unixepoch('subsec') * 1000),
    unique (sha256, version)
  );
  insert into versioned_model select id, sha256, '', name, features, score_offset, first_used_at from model;
  drop table model;
  alter table versioned_model rename to model;
  -- One row each time a scorer begins to use a model; only added to.
  create table model_swap (
    id           integer primary key,
    scorer       text not null,
    model_id     integer not null,
    version      text not null,
    sha256       text not null,
    at           integer not null default (unixepoch('subsec') * 1000),
    cause        text not null check (cause in ('start', 'update', 'request', 'poll', 'rollback')),
    requested_by text not null,
    why          text not null
  );
  -- What the challenger says of a sample of readings; rows may be missing or there twice.
  create table shadow_score (
    topic                 text not null,
    partition             integer not null,
    "offset"              integer not null,
    row                   integer not null,
    time                  integer not null,
    station               text not null,
    champion_model_id     integer not null,
    challenger_model_id   integer not null,
    champion_score        real not null,
    challenger_score      real not null,
    champion_is_anomaly   integer not null,
    challenger_is_anomaly integer not null,
    stored_at             integer not null default (unixepoch('subsec') * 1000)
  );
  -- What happened to models: drift, gate, promotion, rollback, retention. detail: JSON.
  create table event (
    id     integer primary key,
    at     integer not null default (unixepoch('subsec') * 1000),
    kind   text not null,
    detail text not null
  );
  `,
];

/** Long enough for the lock of a process that is just ending. */
const lockWaitMs = 1_000;

/** The file cannot be used; the message says which, why and what to do. */
export class DatabaseUnusable extends Error {}

/** Opens the file in `folder` for this process alone, safe against power loss, and brings its tables up to date. */
export function openDatabase(folder: string): Database {
  const file = join(folder, 'lonetree.sqlite');
  let database: Database | undefined;
  try {
    mkdirSync(folder, { recursive: true });
    database = new Database(file, { create: true, strict: true });
    database.run(`pragma busy_timeout = ${lockWaitMs}`);
    // The lock is the operating system's: it ends with the process, also after kill -9.
    database.run('pragma locking_mode = exclusive');
    database.run('pragma journal_mode = wal');
    database.run('pragma synchronous = full');
    database.transaction(migrate).exclusive(database);
    return database;
  } catch (error) {
    database?.close();
    throw new DatabaseUnusable(`${file} cannot be used: ${explain(error)}.`, { cause: error });
  }
}

function migrate(database: Database): void {
  database.run(
    'create table if not exists schema_migration (version integer primary key, applied_at integer not null)',
  );
  const { version } = database
    .query('select coalesce(max(version), 0) as version from schema_migration')
    .get() as { version: number };
  if (version > migrations.length) {
    throw new Error(
      `it has schema version ${version}, this program knows ${migrations.length}; use the newer program`,
    );
  }
  for (const [index, step] of migrations.entries()) {
    if (index < version) continue;
    database.run(step);
    database.run("insert into schema_migration values (?, unixepoch('subsec') * 1000)", [index + 1]);
  }
}

/** By the name of the error without its details: SQLITE_CANTOPEN_ISDIR is a SQLITE_CANTOPEN. */
const explanations: readonly (readonly [names: readonly string[], explanation: string])[] = [
  [
    ['SQLITE_BUSY', 'SQLITE_LOCKED'],
    'another process has it open; end that one, or set DATA_DIR to another folder',
  ],
  [
    ['SQLITE_CANTOPEN', 'SQLITE_READONLY', 'SQLITE_PERM', 'EACCES', 'EPERM', 'EROFS'],
    'it cannot be written there; make its folder writable, or set DATA_DIR to one that is',
  ],
  [
    ['ENOTDIR', 'EEXIST', 'ENOENT'],
    'its folder cannot be made; set DATA_DIR to a folder, or to where one can be made',
  ],
  [['SQLITE_FULL', 'ENOSPC'], 'the disk is full; make room, or set DATA_DIR to a folder on another disk'],
  [
    ['SQLITE_NOTADB', 'SQLITE_CORRUPT'],
    'it is damaged or not a SQLite file; move it away to start anew, or set DATA_DIR to another folder',
  ],
];

function explain(error: unknown): string {
  const { code = '', message } = error as { readonly code?: string; readonly message: string };
  const known = explanations.find(([names]) =>
    names.some((name) => code === name || code.startsWith(`${name}_`)),
  );
  return known?.[1] ?? message;
}
