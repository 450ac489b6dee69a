// What makes a scorer look for another model by itself: an announcement, and now and then without one.
import type { Logger } from './log.ts';
import { ModelFailure } from './model-failure.ts';
import type { ModelKeeper } from './model-keeper.ts';
import { type Announcement, decodeModelUpdate, type ModelUpdates } from './model-update.ts';

export type TriggerOptions = {
  readonly keeper: Pick<ModelKeeper, 'look'>;
  /** The registered name and the alias that are followed: announcements of others are passed over. */
  readonly followed: { readonly name: string; readonly alias: string };
  /** Null when no challenger is followed. */
  readonly challenger: { readonly alias: string; look(): Promise<void> } | null;
  /** Null where there is no log of announcements. */
  readonly updates: ModelUpdates | null;
  /** On average; each wait is another, so that scorers that were started together do not ask together. */
  readonly pollIntervalMs: number;
  readonly random: () => number;
  readonly log: Logger;
};

/** Answers how to end it. */
export function startTriggers({
  keeper,
  followed,
  challenger,
  updates,
  pollIntervalMs,
  random,
  log,
}: TriggerOptions): () => Promise<void> {
  let timer: ReturnType<typeof setTimeout> | undefined;
  let isStopped = false;
  /** The newest announcement that nobody has looked after yet: one look answers all that came meanwhile. */
  let announced: { readonly why: string } | null = null;
  let isLooking = false;

  /** The keeper has told its failures to log and metrics. */
  async function look(request: Parameters<ModelKeeper['look']>[0]): Promise<void> {
    await keeper.look(request).catch((error) => {
      if (!(error instanceof ModelFailure)) throw error;
    });
    void challenger?.look(); // Whoever becomes the champion is the challenger no more.
  }

  function pollLater(): void {
    if (isStopped) return;
    const waitMs = pollIntervalMs * (0.5 + random());
    timer = setTimeout(() => void look({ cause: 'poll', requestedBy: '', why: '' }).then(pollLater), waitMs);
  }

  function handle(announcement: Announcement): void {
    const update = decodeModelUpdate(announcement);
    if ('rejected' in update) {
      log.warn({ detail: update.rejected }, 'an announcement of a model cannot be read and is passed over');
      return;
    }
    const { name, alias, version, reason } = update;
    const isFollowed = name === followed.name && alias === followed.alias;
    const isChallenger = name === followed.name && alias === challenger?.alias;
    const facts = { name, alias, version, why: reason, isFollowed: isFollowed || isChallenger };
    log.info(facts, 'a model is announced');
    if (isChallenger) void challenger?.look();
    if (!isFollowed) return;
    announced = { why: reason };
    void lookWhileAnnounced();
  }

  async function lookWhileAnnounced(): Promise<void> {
    if (isLooking) return;
    isLooking = true;
    while (announced !== null) {
      const { why } = announced;
      announced = null;
      await look({ cause: 'update', requestedBy: '', why });
    }
    isLooking = false;
  }

  updates?.follow(handle);
  void challenger?.look();
  pollLater();
  return async () => {
    isStopped = true;
    clearTimeout(timer);
    await updates?.close();
  };
}
