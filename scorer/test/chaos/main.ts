// `bun run chaos [--seed N] [--rounds N] [--events a,b,…|all] [--rate N]`: campaigns by hand, a line of JSON each.
// Exits 1 when anything is lost, doubled, changed or invented.
import { parseArgs } from 'node:util';
import { events, runCampaign } from './campaign.ts';
import { flawCount } from './checker.ts';

const { values } = parseArgs({
  options: {
    seed: { type: 'string' },
    rounds: { type: 'string', default: '1' },
    events: { type: 'string', default: 'all' },
    rate: { type: 'string', default: '1000' },
  },
});
const firstSeed = Number(values.seed ?? Math.floor(Math.random() * 2 ** 31));
let isSound = true;
for (let round = 0; round < Number(values.rounds); round += 1) {
  const seed = firstSeed + round;
  console.error(`\nround ${round + 1} of ${values.rounds}, seed ${seed}`);
  const report = await runCampaign({
    seed,
    events: values.events === 'all' ? Object.keys(events) : values.events.split(','),
    messagesPerSecond: Number(values.rate),
    readingsPerMessage: 16,
    say: (line) => console.error(line),
  });
  console.log(JSON.stringify({ seed, flaws: flawCount(report), ...report }));
  isSound &&= flawCount(report) === 0 && report.isDrained;
}
process.exit(isSound ? 0 : 1);
