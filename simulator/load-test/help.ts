// What `bun run load-test --help` prints.

export const HELP = `Sends readings on a schedule, whatever the answers are, and measures when they are rows and when they are anomalies.

  bun run load-test [options]

Without --brokers it starts a Kafka, a PostgreSQL and a scorer of its own. Latency counts from the time at which a
message was due to leave until a query sees it stored. Exits 1 on loss, on duplicates or when an objective is missed.

What is sent
  --batch N,N         readings a message, one series of steps each (1,64,1000); objectives need 64
  --steps N,N         rates in percent of what a saturation probe finds (10,25,50,75,90)
  --rates N,N         rates in messages/s instead
  --duration TIME     of one step in seconds (10s); the step that objectives are about takes three times that. A whole run
                      takes about 25 times that and a minute
  --arrivals HOW      poisson: as from many independent stations; constant: evenly apart (poisson)
  --seed N            same seed, same readings and times (1)
  --partitions N      of the topic of its own stack (6)
  --quick             short steps, no objectives: does everything work?
  --baseline          also measures the usual design: one JSON message, one pandas frame, one INSERT at a time

Where to
  --brokers LIST      host:port,host:port of a Kafka that a scorer reads, topic readings; with --database
  --database URL      postgres://user:password@host:port/database that it stores into
  --allow-remote      these may be other machines than this one

What is written
  --out DIR           results.json, report.html and a .hgrm file a step (.data/load-test)
  --markdown FILE     the table, between <!-- load-test:begin --> and <!-- load-test:end --> of this file

Examples
  bun run load-test --quick
  bun run load-test --baseline --markdown docs/BENCHMARKS.md
  bun run load-test --batch 64 --rates 500,1000,2000 --duration 60s --arrivals constant
`;
