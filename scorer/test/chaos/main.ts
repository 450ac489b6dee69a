// `bun run chaos [--seed N] [--events a,b,…|all] [--rate N]`: a campaign by hand; exits 1 when anything is lost, doubled or invented.
import { parseArgs } from 'node:util';
import { events, runCampaign } from './campaign.ts';
import { flawCount } from './checker.ts';

const { values } = parseArgs({
  options: {
    seed: { type: 'string' },
    events: { type: 'string', default: 'all' },
    rate: { type: 'string', default: '1000' },
  },
});
const seed = Number(values.seed ?? Math.floor(Math.random() * 2 ** 31));
console.error(`seed ${seed}`);
const report = await runCampaign({
  seed,
  events: values.events === 'all' ? Object.keys(events) : values.events.split(','),
  messagesPerSecond: Number(values.rate),
  readingsPerMessage: 16,
  say: (line) => console.error(line),
});
console.log(JSON.stringify({ seed, ...report }));
process.exit(flawCount(report) === 0 && report.isDrained ? 0 : 1);
