// What `--help` prints.

export const HELP = `Simulates stations that report temperature, humidity and sound, or replays a CSV file.

  bun run simulator [options]

What is measured
  --stations N        number of stations (12)
  --seed N            same seed, same readings (1)
  --mode MODE         independent: every value drawn anew; correlated: daily cycle and memory (independent)
  --faults WHAT       none, a number of faults per station and hour, or every:9s for one in the fleet (none)
  --shift A:N,B:N     move a feature by N of its standard deviations, e.g. temperature:1,sound:-0.5
  --interval TIME     from one reading of a station to its next, in the readings' own time (what --rate gives)
  --start TIME        time of the first reading, ISO 8601 (now; 2026-01-01 with --to csv)

How much, how fast
  --rate N|max        readings per second of the whole fleet (one per station; max with --to csv)
  --batch N           readings per message (1)
  --gateways N        stations report through N gateways instead of on their own (0)
  --readings N        stop after so many readings
  --duration TIME     stop after so much time: 30s, 10m, 2h

Where to
  --to WHERE          kafka, http or csv (kafka with --brokers or KAFKA_BROKERS, otherwise http)
  --url URL           scorer for http (http://127.0.0.1:8080)
  --brokers LIST      host:port,host:port for kafka (KAFKA_BROKERS)
  --topic NAME        topic for kafka (readings)
  --output FILE       file for csv
  --labels FILE       write one JSON line per fault
  --labels-topic NAME publish one JSON message per fault to this Kafka topic
  --ledger FILE       write partition, offset, sequence, readings of every message that Kafka acknowledged

Replay
  --replay FILE       readings from a CSV file with a header line
  --speed N|max       how much faster than it happened (1; max for csv)
  --time-column NAME  (time, timestamp, date or datetime)
  --features A,B      columns to send (all but the time)
  --station NAME      (the file's name)
  --now               move all times so that the first reading is made now

Examples
  bun run simulator --faults every:9s
  bun run simulator --to csv --output rows.csv --labels labels.jsonl --readings 100000 --faults 0.5
  bun run simulator --brokers 127.0.0.1:9092 --stations 100 --rate 400000 --batch 1000 --duration 60s
  bun run simulator --replay data/nab/machine_temperature_system_failure.csv --speed 3600 --now
`;
