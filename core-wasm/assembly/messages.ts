// Several messages of a block in one call: where each lies in the input, where it was in the log, and how many readings it
// gave. Decoding a message is batch.ts' business.
import { appendBatch, ignoredFeatureCount } from './batch';
import { enlarge } from './memory';

const spanSize: usize = 8;
let capacity: u32 = 0;

/** Per message: u32 place and size of its bytes. Without bytes it has no readings and only keeps its place. */
export let messageSpans: usize = 0;
/** f64 per message. */
export let messageOffsets: usize = 0;
/** u32 per message. */
export let messageRows: usize = 0;
export let messageCount: u32 = 0;
/** Columns of all messages that are no feature of the model. */
export let ignoredInBlock: u32 = 0;

/** Makes room for `count` messages and keeps those that are there. */
export function reserveMessages(count: u32): bool {
  if (count <= capacity) return true;
  const used = <usize>messageCount;
  const wanted = max(count, capacity * 2);
  messageSpans = enlarge(messageSpans, 0, used * spanSize, <usize>wanted * spanSize);
  messageOffsets = enlarge(messageOffsets, 0, used << 3, (<usize>wanted) << 3);
  messageRows = enlarge(messageRows, 0, used << 2, (<usize>wanted) << 2);
  const isThere = messageSpans != 0 && messageOffsets != 0 && messageRows != 0;
  capacity = isThere ? wanted : 0;
  return isThere;
}

export function clearMessages(): void {
  messageCount = 0;
  ignoredInBlock = 0;
}

/** Adds the message after the last one as one without readings. */
export function passMessage(): void {
  store<u32>(messageRows + ((<usize>messageCount) << 2), 0);
  messageCount += 1;
}

/**
 * Adds the readings of the messages up to the block's `end`-th, whose spans the host has put there. Answers 0, or why the
 * one after the last added was not added: see batch.ts.
 */
export function appendSpans(end: u32): i32 {
  while (messageCount < end) {
    const span = messageSpans + <usize>messageCount * spanSize;
    const size = <usize>load<u32>(span, 4);
    let rows: i32 = 0;
    if (size > 0) {
      rows = appendBatch(<usize>load<u32>(span), size);
      if (rows < 0) return rows;
      ignoredInBlock += ignoredFeatureCount();
    }
    store<u32>(messageRows + ((<usize>messageCount) << 2), <u32>rows);
    messageCount += 1;
  }
  return 0;
}
