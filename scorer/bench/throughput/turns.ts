// Two kinds of scorers compared: they store the same backlog in turns, so that a busy moment of the machine hits both alike.
import { startScorer } from '@lonetree/devstack';
import type { BenchStack } from './bench-stack.ts';
import { type Drained, drain } from './rate.ts';

export type Kind = {
  readonly name: string;
  readonly environment: Readonly<Record<string, string>>;
  /** The program, when it is not the scorer itself. */
  readonly entry?: string;
};
export type Turn = Drained & { readonly rows: number; readonly shadowRows: number };

/** Caches are warm, code is compiled and a challenger is there when so much is stored. */
const skippedShare = 0.1;

export async function takeTurns(
  stack: BenchStack,
  kinds: readonly [Kind, Kind],
  options: { readonly rounds: number; readonly scorers: number },
): Promise<readonly (readonly [Turn, Turn])[]> {
  const turns: [Turn, Turn][] = [];
  for (let round = 0; round < options.rounds; round += 1) {
    const take = async (kind: Kind) => {
      const turn = await takeTurn(stack, kind, { group: `${kind.name}-${round}`, scorers: options.scorers });
      console.error(`${kind.name}: ${Math.round(turn.messagesPerSecond).toLocaleString('en')} messages/s`);
      return turn;
    };
    // Who is first has the emptier disk cache: each is first in every other round.
    const isSwapped = round % 2 === 1;
    const first = await take(kinds[isSwapped ? 1 : 0]);
    const second = await take(kinds[isSwapped ? 0 : 1]);
    turns.push(isSwapped ? [second, first] : [first, second]);
  }
  return turns;
}

async function takeTurn(
  stack: BenchStack,
  { environment, entry }: Kind,
  { group, scorers: count }: { readonly group: string; readonly scorers: number },
): Promise<Turn> {
  await stack.sql`checkpoint`;
  const scorers = Array.from({ length: count }, () =>
    startScorer({
      ...stack,
      environment: { ...environment, KAFKA_GROUP: group },
      ...(entry === undefined ? {} : { entry }),
    }),
  );
  try {
    const drained = await drain(stack, { scorers, group, skippedShare });
    await Promise.all(scorers.map((scorer) => scorer.stop()));
    const [row] = await stack.sql`select (select count(*) from prediction)::float8 as rows,
      (select count(*) from shadow_score)::float8 as shadow`;
    await stack.sql`truncate prediction, anomaly, shadow_score`;
    return { ...drained, rows: row?.rows as number, shadowRows: row?.shadow as number };
  } finally {
    await Promise.all(scorers.map((scorer) => scorer.stop()));
  }
}
