// The challenger in shadow: it scores a sample of the messages again, after the champion's verdicts on them are stored and
// published. What both say is kept aside and counted; it alarms nobody, and nobody waits for it. When it is behind, it leaves out.
import type { ByteSpan } from '@lonetree/core-wasm';
import type { ActiveModel, Batches } from './pipeline.ts';
import { createSampler } from './shadow-sample.ts';
import type { ShadowScores, Store, Verdicts } from './store.ts';

/** What the champion says of the sampled messages of one block, kept until the challenger may say it too. */
export type ShadowSample = {
  readonly partition: number;
  readonly championModelId: number;
  readonly messages: readonly SampledMessage[];
  readonly rowCount: number;
  /** Of the messages' rows, one message after the other. */
  readonly scores: Float64Array;
  readonly isAnomaly: Uint8Array;
};
type SampledMessage = {
  readonly batch: ByteSpan;
  readonly offset: number;
  /** Its readings, and the row of the champion's block where they begin. */
  readonly rowCount: number;
  readonly firstRow: number;
};

/** Why sampled rows were not compared. */
export type ShadowDropReason =
  /** As many blocks wait as may. */
  | 'behind'
  /** The block has more sampled rows than are taken of one. */
  | 'too-many'
  /** The challenger does not take messages as the champion does. */
  | 'unpaired'
  /** The challenger could not score, or the store did not take the rows. */
  | 'failed';

export type ShadowObserver = {
  shadowStored(counts: {
    readonly rowCount: number;
    readonly championAnomalyCount: number;
    readonly challengerAnomalyCount: number;
    /** Rows that one of them calls abnormal and the other does not. */
    readonly disagreementCount: number;
  }): void;
  shadowDropped(reason: ShadowDropReason, rowCount: number): void;
};

export type Shadow = {
  /**
   * Sets aside what the champion says of the sampled messages from `firstIndex` on; null when there is nothing to compare.
   * Reads the block, whose memory is used again after the caller's first await.
   */
  sample(verdicts: Verdicts, batches: Batches, firstIndex: number): ShadowSample | null;
  /** The sample's block is stored and published: now the challenger may score it. Waits for nothing. */
  compare(sample: ShadowSample): void;
  /** Forgets what waits, and ends when nothing is under way. */
  close(): Promise<void>;
};

export type ShadowOptions = {
  readonly challenger: () => ActiveModel | null;
  readonly store: Pick<Store, 'writeShadow'>;
  readonly topic: string;
  /** Share of the messages, 0 … 1. */
  readonly sampleRate: number;
  /** Blocks that may wait; those that are being stored and published at the same time come together. */
  readonly waitingMax: number;
  /** Rows that are taken of one block. */
  readonly blockRowsMax: number;
  /** Rows after which others have their turn; a message stays whole. */
  readonly turnRowsMax: number;
  readonly log: { warn(fields: object, message: string): void };
  readonly observer: ShadowObserver;
};

const unpaired = 'The challenger does not take messages as the champion does.';

export function createShadow(options: ShadowOptions): Shadow {
  const { challenger, store, observer, log } = options;
  const isSampled = createSampler(options.topic, options.sampleRate);
  let waiting: ShadowSample[] = [];
  let work: Promise<void> | null = null;
  let lastTrouble = '';
  let isClosed = false;

  /** Sampled messages in their order, as long as there is room for their rows. */
  function choose({ block, offsets, partition }: Verdicts, batches: Batches['batches'], firstIndex: number) {
    const { messageRows } = block;
    const messages: SampledMessage[] = [];
    let chosenRows = 0;
    let leftOutRows = 0;
    for (let index = 0, firstRow = 0; index < offsets.length; index += 1) {
      const rowCount = messageRows[index] as number;
      const offset = offsets[index] as number;
      if (rowCount > 0 && isSampled(partition, offset)) {
        if (chosenRows + rowCount <= options.blockRowsMax) {
          messages.push({ batch: batches[firstIndex + index] as ByteSpan, offset, rowCount, firstRow });
          chosenRows += rowCount;
        } else leftOutRows += rowCount;
      }
      firstRow += rowCount;
    }
    return { messages, chosenRows, leftOutRows };
  }

  async function compareWaiting(): Promise<void> {
    for (let sample = waiting.shift(); sample !== undefined; sample = waiting.shift()) {
      for (const turn of splitIntoTurns(sample, options.turnRowsMax)) {
        await new Promise((resolve) => setImmediate(resolve)); // Blocks and requests go before.
        const model = challenger();
        if (isClosed || model === null || model.modelId === sample.championModelId) break;
        await compareTurn(model, turn);
      }
    }
    work = null;
  }

  async function compareTurn(model: ActiveModel, turn: ShadowSample): Promise<void> {
    try {
      const scores = scoreAgain(model, turn);
      if (scores === null) return leaveOut('unpaired', turn, new Error(unpaired));
      const counts = countVerdicts(scores);
      await store.writeShadow(scores);
      lastTrouble = '';
      observer.shadowStored(counts);
    } catch (error) {
      leaveOut('failed', turn, error as Error); // The champion goes on, whatever it is.
    }
  }

  /** An hour without the database is a line and not thousands. */
  function leaveOut(reason: ShadowDropReason, { rowCount }: ShadowSample, error: Error): void {
    observer.shadowDropped(reason, rowCount);
    if (error.message !== lastTrouble) log.warn({ err: error }, 'readings are not compared in shadow');
    lastTrouble = error.message;
  }

  return {
    sample(verdicts, { batches }, firstIndex) {
      const model = challenger();
      if (model === null || model.modelId === verdicts.modelId) return null;
      const { messages, chosenRows, leftOutRows } = choose(verdicts, batches, firstIndex);
      if (leftOutRows > 0) observer.shadowDropped('too-many', leftOutRows);
      if (chosenRows === 0) return null;
      if (waiting.length < options.waitingMax) return takeAside(verdicts, messages, chosenRows);
      observer.shadowDropped('behind', chosenRows);
      return null;
    },

    compare(sample) {
      if (isClosed) return;
      if (waiting.length >= options.waitingMax) {
        observer.shadowDropped('behind', sample.rowCount);
        return;
      }
      waiting.push(sample);
      work ??= compareWaiting();
    },

    async close() {
      isClosed = true;
      waiting = [];
      await work;
    },
  };
}

function takeAside(
  { block, partition, modelId }: Verdicts,
  messages: readonly SampledMessage[],
  rowCount: number,
): ShadowSample {
  const scores = new Float64Array(rowCount);
  const isAnomaly = new Uint8Array(rowCount);
  let at = 0;
  for (const { firstRow, rowCount: rows } of messages) {
    scores.set(block.scores.subarray(firstRow, firstRow + rows), at);
    isAnomaly.set(block.isAnomaly.subarray(firstRow, firstRow + rows), at);
    at += rows;
  }
  return { partition, championModelId: modelId, messages, rowCount, scores, isAnomaly };
}

function* splitIntoTurns(sample: ShadowSample, rowsMax: number): Generator<ShadowSample> {
  const { messages } = sample;
  let at = 0;
  for (let first = 0, next = 0; first < messages.length; first = next) {
    let rowCount = 0;
    for (; next < messages.length; next += 1) {
      const rows = (messages[next] as SampledMessage).rowCount;
      if (rowCount > 0 && rowCount + rows > rowsMax) break;
      rowCount += rows;
    }
    yield {
      ...sample,
      messages: messages.slice(first, next),
      rowCount,
      scores: sample.scores.subarray(at, at + rowCount),
      isAnomaly: sample.isAnomaly.subarray(at, at + rowCount),
    };
    at += rowCount;
  }
}

/** Null when the challenger's rows are not the champion's. Waits for nothing. */
function scoreAgain({ engine, modelId }: ActiveModel, turn: ShadowSample): ShadowScores | null {
  const { messages } = turn;
  engine.begin();
  const { next } = engine.appendAll(
    messages.map(({ batch }) => batch),
    0,
  );
  const block = engine.score();
  const isPaired =
    next === messages.length &&
    messages.every(({ rowCount }, index) => block.messageRows[index] === rowCount);
  if (!isPaired) return null;
  return {
    partition: turn.partition,
    championModelId: turn.championModelId,
    challengerModelId: modelId,
    block,
    offsets: messages.map(({ offset }) => offset),
    championScores: turn.scores,
    championIsAnomaly: turn.isAnomaly,
  };
}

function countVerdicts({
  block,
  championIsAnomaly,
}: ShadowScores): Parameters<ShadowObserver['shadowStored']>[0] {
  let championAnomalyCount = 0;
  let challengerAnomalyCount = 0;
  let disagreementCount = 0;
  for (let row = 0; row < block.rowCount; row += 1) {
    const champion = championIsAnomaly[row] as number;
    const challenger = block.isAnomaly[row] as number;
    championAnomalyCount += champion;
    challengerAnomalyCount += challenger;
    disagreementCount += champion ^ challenger;
  }
  return { rowCount: block.rowCount, championAnomalyCount, challengerAnomalyCount, disagreementCount };
}
