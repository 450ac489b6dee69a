// Which troubles are news, so that one that comes again and again is a line in the log and not thousands.

export type TroubleOptions = {
  /** A trouble that comes again within this time is the same one still. */
  readonly quietMs: number;
  /** So many troubles are told apart; beyond that the ones that came first are forgotten. */
  readonly countMax: number;
  readonly now: () => number;
};

/** Answers whether a trouble is news, or the same as not long ago. */
export type IsNews = (trouble: string) => boolean;

export function createTroubles({ quietMs, countMax, now }: TroubleOptions): IsNews {
  /** When each came last, the oldest first. */
  const seen = new Map<string, number>();
  return (trouble) => {
    const lastMs = seen.get(trouble) ?? Number.NEGATIVE_INFINITY;
    seen.delete(trouble);
    seen.set(trouble, now());
    if (seen.size > countMax) seen.delete(seen.keys().next().value as string);
    return now() - lastMs >= quietMs;
  };
}
