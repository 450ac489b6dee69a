// `bun run chaos [--seed N] [--rounds N] [--events a,b,…|all] [--rate N]`: campaigns by hand, a line of JSON each.
// Exits 1 when anything is lost, doubled, changed or invented.
import { parseArgs } from 'node:util';
import { readArguments, readWholeNumber } from '@lonetree/devstack';
import { events, runCampaign } from './campaign.ts';
import { flawCount } from './checker.ts';

const usage = `bun run chaos [--seed N] [--rounds N] [--events a,b,…|all] [--rate N]

Kills and freezes scorers, Kafka and PostgreSQL under load, and compares what was sent with what is stored. Prints a line of JSON
a round; exits 1 when anything is lost, doubled, changed or invented.

  --seed N     of the first round; the next rounds' follow it
  --rounds N   how many (1)
  --events …   in this order (all): ${Object.keys(events).join(', ')}
  --rate N     messages of 16 readings a second (1000)`;

const { firstSeed, rounds, names, messagesPerSecond } = readArguments(usage, (args) => {
  const { values } = parseArgs({
    args,
    options: {
      seed: { type: 'string', default: String(Math.floor(Math.random() * 2 ** 31)) },
      rounds: { type: 'string', default: '1' },
      events: { type: 'string', default: 'all' },
      rate: { type: 'string', default: '1000' },
    },
  });
  const wanted = values.events === 'all' ? Object.keys(events) : values.events.split(',');
  const unknown = wanted.find((name) => !Object.hasOwn(events, name));
  if (unknown !== undefined) throw new Error(`--events: there is no event "${unknown}"`);
  return {
    firstSeed: readWholeNumber('--seed', values.seed),
    rounds: readWholeNumber('--rounds', values.rounds, { min: 1 }),
    names: wanted,
    messagesPerSecond: readWholeNumber('--rate', values.rate, { min: 1 }),
  };
});
let isSound = true;
for (let round = 0; round < rounds; round += 1) {
  const seed = firstSeed + round;
  console.error(`\nround ${round + 1} of ${rounds}, seed ${seed}`);
  const report = await runCampaign({
    seed,
    events: names,
    messagesPerSecond,
    readingsPerMessage: 16,
    say: (line) => console.error(line),
  });
  console.log(JSON.stringify({ seed, flaws: flawCount(report), ...report }));
  isSound &&= flawCount(report) === 0 && report.isDrained;
}
process.exit(isSound ? 0 : 1);
