// Every limit that is no setting: its name, its value and what it bounds, in one table. Time is in milliseconds, size in bytes.

const bound = (value: number, meaning: string) => ({ value, meaning });

/** In the order in which documents show them. */
export const boundsTable = {
  sessionTimeoutMs: bound(
    6_000,
    'without a heartbeat for this long a scorer counts as dead and its partitions go to others',
  ),
  heartbeatIntervalMs: bound(1_000, 'how often a scorer tells the brokers that it is there'),
  lagReportIntervalMs: bound(
    1_000,
    'how old the positions that the broker knows for its lag metrics may be; nothing else reads them',
  ),
  rebalanceTimeoutMs: bound(10_000, 'how long a rebalance waits for a busy scorer'),
  fetchWaitMaxMs: bound(250, 'how long an idle fetch waits for the first message'),
  fetchSizeMax: bound(4 << 20, 'bytes of one fetch; a larger message comes alone'),
  fetchSizePerPartitionMax: bound(
    384 << 10,
    'bytes that a fetch brings of one partition; not less than producers’ batches (up to 1 MiB by default), as of larger ones a fetch brings one partition’s only',
  ),
  unpackedSizeMax: bound(
    32 << 20,
    'bytes that a compressed batch of messages unpacks into; one of more becomes a dead letter',
  ),
  partitionsConcurrentMax: bound(3, 'partitions whose blocks are handled at once'),
  embeddedBlockMessagesMax: bound(
    2_000,
    'messages of one block of the embedded log: SQLite holds up everything else while it stores a block',
  ),
  embeddedBlockSizeMax: bound(64 << 10, 'bytes of one block of the embedded log'),
  requestTimeoutMs: bound(10_000, 'Kafka requests that take longer have failed'),
  databaseDeadlineMs: bound(
    5_000,
    'a transaction not done by then counts as failed; shorter than the session',
  ),
  databaseConnectTimeoutMs: bound(2_000, 'a connection to PostgreSQL not made by then has failed'),
  queryConnectionsMax: bound(2, 'connections for those who ask for verdicts'),
  schemaDeadlineMs: bound(60_000, 'changes of tables that take longer have failed'),
  lockTimeoutMs: bound(2_000, 'blocks that come while a table is to be locked wait at most this long'),
  publishSizeMax: bound(
    900_000,
    'bytes of messages that are published in one request; a larger message goes alone',
  ),
  confirmDeadlineMs: bound(
    8_000,
    'readings that came by HTTP and that the log has not confirmed by then are unconfirmed; shorter than senders wait',
  ),
  retryFirstMs: bound(100, 'first wait before what failed is tried again; it doubles each time'),
  retryMaxMs: bound(5_000, 'longest wait before what failed is tried again'),
  troubleQuietMs: bound(
    90_000,
    'a trouble that comes again within this time is the same one and is not logged again; longer than what is tried at intervals waits',
  ),
  troublesMax: bound(200, 'different troubles that are told apart for that'),
  requestDrainMs: bound(1_000, 'requests that are not answered by then are cut off when the scorer stops'),
  drainDeadlineMs: bound(8_000, 'a stop that takes longer is a failure'),
  maintainIntervalMs: bound(60_000, 'how often day partitions are made and old verdicts removed'),
  watchIntervalMs: bound(5_000, 'how old what metrics say of lag and store may be'),
  registryAnswerMs: bound(3_000, 'a registry that has not told a version by then is tried again'),
  registryDownloadMs: bound(60_000, 'a registry that has not sent a forest by then is tried again'),
  registryTryCount: bound(3, 'how often a registry is tried before it counts as away'),
  registryRetryFirstMs: bound(200, 'first wait between these tries; it doubles each time'),
  registryRetryMaxMs: bound(2_000, 'longest wait between these tries'),
  modelStartMs: bound(
    15_000,
    'a start waits no longer for the registry: there is the last good model, and another one may follow soon',
  ),
  modelAnswerMs: bound(
    20_000,
    'who asked for another model is told by then, if only that it is still under way',
  ),
  shadowWaitingMax: bound(3, 'blocks that wait for the challenger; what comes then is left out'),
  shadowBlockRowsMax: bound(8_192, 'readings of one block that the challenger scores too'),
  shadowTurnRowsMax: bound(1_024, 'readings that it scores before other work has its turn'),
  updatesFetchWaitMaxMs: bound(1_000, 'how long an idle fetch of announcements waits'),
  updatesRetryMs: bound(10_000, 'wait before announcements that cannot be read are tried again'),
  partitionDaysAhead: bound(3, 'day partitions exist this many days ahead'),
  requestBodySizeMax: bound(16 << 20, 'bytes of a request with readings'),
  queryRowsMax: bound(1_000, 'verdicts of one answer'),
} as const;

type Bounds = { readonly [Name in keyof typeof boundsTable]: number };

export const bounds = Object.fromEntries(
  Object.entries(boundsTable).map(([name, { value }]) => [name, value]),
) as Bounds;
