// Reads a forest file's parts for comparison; docs/MODEL_FORMAT.md is the layout. Checks nothing, scores nothing.

export type ForestSections = {
  /** Bytes 8 … 48 without checksum and size: version, counts, flags. */
  readonly counts: number[];
  /** Denominator, offset, sum threshold. */
  readonly header: number[];
  readonly sections: ReadonlyMap<string, Uint8Array>;
};

const HEADER_SIZE = 96;
const SECTION_ENTRY_SIZE = 16;
const COUNT_PLACES = [8, 20, 24, 28, 32, 36, 40, 44];
const HEADER_NUMBER_PLACES = [48, 56, 64];

export function readSections(file: Uint8Array): ForestSections {
  const view = new DataView(file.buffer, file.byteOffset, file.byteLength);
  const sections = new Map<string, Uint8Array>();
  for (let index = 0; index < view.getUint32(20, true); index++) {
    const entry = HEADER_SIZE + index * SECTION_ENTRY_SIZE;
    const id = new TextDecoder().decode(file.subarray(entry, entry + 4));
    const offset = view.getUint32(entry + 4, true);
    sections.set(id, file.slice(offset, offset + view.getUint32(entry + 8, true)));
  }
  return {
    counts: COUNT_PLACES.map((place) => view.getUint32(place, true)),
    header: HEADER_NUMBER_PLACES.map((place) => view.getFloat64(place, true)),
    sections,
  };
}

/** The float64 numbers from `start` on, `count` of them or as many as there are. */
export function float64s(
  section: Uint8Array,
  start = 0,
  count = Math.floor((section.length - start) / 8),
): number[] {
  const view = new DataView(section.buffer, section.byteOffset, section.byteLength);
  return Array.from({ length: count }, (_, index) => view.getFloat64(start + index * 8, true));
}

export function uint32At(section: Uint8Array, place: number): number {
  return new DataView(section.buffer, section.byteOffset, section.byteLength).getUint32(place, true);
}
