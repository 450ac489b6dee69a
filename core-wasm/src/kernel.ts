// What the host calls of the WebAssembly module: assembly/index.ts says what each does.
import type { CopyKernel } from './copy.ts';

export type Kernel = {
  readonly memory: WebAssembly.Memory;
  reserve(size: number): number;
  startLoading(at: number, size: number): number;
  loadSome(): number;
  refusalPlace(): number;
  loadTables(at: number, size: number): number;
  testTables(rowCount: number): number;
  useTables(isUsed: boolean): void;
  begin(): void;
  reserveInput(size: number): number;
  append(at: number, size: number): number;
  reserveMessages(count: number): number;
  appendMessages(end: number): number;
  passMessage(): void;
  ignoredFeatureCount(): number;
  rejectionCode(): number;
  rejectionDetail(): number;
  rejectionSecondDetail(): number;
  rejectionNamePlace(): number;
  rejectionNameSize(): number;
  loadRows(at: number, count: number): number;
  sumRows(): void;
  score(): number;
} & CopyKernel & { readonly [address in Address]: WebAssembly.Global };
export type Address =
  | 'rowCount'
  | 'rowCountMax'
  | 'rowSize'
  | 'rows'
  | 'sums'
  | 'scores'
  | 'severities'
  | 'times'
  | 'stationNames'
  | 'stationNamesSize'
  | 'stationPlaces'
  | 'stationSizes'
  | 'verdicts'
  | 'abnormalRows'
  | 'abnormalCount'
  | 'firstReasons'
  | 'reasons'
  | 'messageSpans'
  | 'messageRows'
  | 'messageCount'
  | 'ignoredInBlock';
