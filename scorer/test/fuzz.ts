// `bun run fuzz [seed]`: replays one seeded world exactly, or without a seed 1,000 new ones until one breaks a promise.
import { readArguments, readWholeNumber } from '@lonetree/devstack';
import { flawCount, simulate } from './simulation.ts';

const usage = `bun run fuzz [seed]

Simulates scorers, a log and a database that fail at any moment: one seeded world, or without a seed 1,000 new ones until one
breaks a promise. Prints a line of JSON; exits 1 when a promise was broken.`;

const given = readArguments(usage, ([seed, ...rest]) => {
  if (rest.length > 0) throw new Error(`${rest[0]}: there is one seed`);
  return seed === undefined ? undefined : readWholeNumber('seed', seed);
});
const firstSeed = given ?? Math.floor(Math.random() * 2 ** 31);
const seedCount = given === undefined ? 1_000 : 1;
let readings = 0;
for (let seed = firstSeed; seed < firstSeed + seedCount; seed += 1) {
  const report = await simulate(seed);
  readings += report.readings;
  if (seedCount === 1 || flawCount(report) > 0) {
    console.log(JSON.stringify(report));
    process.exit(flawCount(report) > 0 ? 1 : 0);
  }
  if (process.stderr.isTTY) process.stderr.write(`\rseed ${seed}: ${readings} readings, each stored once `);
}
console.log(JSON.stringify({ firstSeed, seedCount, readings, flaws: 0 }));
