// The tables on PostgreSQL, as numbered steps. A step that has been released is never changed: add the next one.

export const migrations: readonly string[] = [
  `
  create table model (
    id            integer generated always as identity primary key,
    sha256        text not null unique,
    name          text not null,
    features      text[] not null,
    score_offset  double precision not null,
    first_used_at timestamptz not null default now()
  );
  create table consumer_offset (
    consumer     text not null,
    topic        text not null,
    partition    integer not null,
    next_offset  bigint not null,
    block_offset bigint not null,
    primary key (consumer, topic, partition)
  ) with (fillfactor = 50);
  comment on column consumer_offset.next_offset is 'first message that is not stored yet';
  comment on column consumer_offset.block_offset is 'first message of the last stored block, whose anomalies may be unpublished';
  create table position_gap (
    consumer    text not null,
    topic       text not null,
    partition   integer not null,
    from_offset bigint not null,
    to_offset   bigint not null,
    found_at    timestamptz not null default now()
  );
  comment on table position_gap is 'messages that the log had deleted before they were read';
  create table prediction (
    topic      text not null,
    partition  integer not null,
    "offset"   bigint not null,
    row        integer not null,
    time       timestamptz not null,
    station    text not null,
    "values"   real[] not null,
    score      double precision not null,
    severity   real,
    is_anomaly boolean not null,
    model_id   integer not null
  ) partition by range (time);
  comment on table prediction is 'one verdict per reading; no unique key, as the position makes one unnecessary';
  create index prediction_time on prediction using brin (time);
  create table prediction_default partition of prediction default;
  create table anomaly (
    id        text not null,
    topic     text not null,
    partition integer not null,
    "offset"  bigint not null,
    row       integer not null,
    time      timestamptz not null,
    station   text not null,
    "values"  real[] not null,
    score     double precision not null,
    decision  double precision not null,
    severity  double precision,
    reasons   text[] not null,
    model_id  integer not null
  );
  create index anomaly_place on anomaly (topic, partition, "offset");
  create index anomaly_time on anomaly (time desc, partition desc, "offset" desc, row desc);
  `,
  `
  alter table model add column version text not null default '';
  comment on column model.version is 'in the registry; empty for a file';
  alter table model drop constraint model_sha256_key, add unique (sha256, version);
  create table model_swap (
    id           bigint generated always as identity primary key,
    scorer       text not null,
    model_id     integer not null,
    version      text not null,
    sha256       text not null,
    at           timestamptz not null default now(),
    cause        text not null check (cause in ('start', 'update', 'request', 'poll', 'rollback')),
    requested_by text not null,
    why          text not null
  );
  comment on table model_swap is 'one row each time a scorer begins to use a model; only added to';
  create index model_swap_scorer on model_swap (scorer, id desc);
  create table shadow_score (
    topic                 text not null,
    partition             integer not null,
    "offset"              bigint not null,
    row                   integer not null,
    time                  timestamptz not null,
    station               text not null,
    champion_model_id     integer not null,
    challenger_model_id   integer not null,
    champion_score        double precision not null,
    challenger_score      double precision not null,
    champion_is_anomaly   boolean not null,
    challenger_is_anomaly boolean not null
  ) partition by range (time);
  comment on table shadow_score is 'what the challenger says of a sample of readings; rows may be missing or there twice';
  create index shadow_score_time on shadow_score using brin (time);
  create table shadow_score_default partition of shadow_score default;
  create table event (
    id     bigint generated always as identity primary key,
    at     timestamptz not null default now(),
    kind   text not null,
    detail jsonb not null
  );
  comment on table event is 'what happened to models: drift, gate, promotion, rollback, retention';
  create index event_at on event (at desc);
  `,
  `
  create table feedback (
    topic      text not null,
    partition  integer not null,
    "offset"   bigint not null,
    row        integer not null,
    is_anomaly boolean not null,
    given_by   text not null default '',
    note       text not null default '',
    at         timestamptz not null default now(),
    primary key (topic, partition, "offset", row)
  );
  comment on table feedback is 'what people say of readings, named by their place in the log; the gate judges challengers by it too';
  `,
  `
  comment on table event is 'what happened to models: drift, registration, gate, promotion, rollback, retention';
  `,
];
