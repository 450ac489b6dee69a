// Announcements of models: how they come, and from a message to a ModelUpdate. A bad one is a value.
import { fromBinary, fromJson, type JsonValue } from '@bufbuild/protobuf';
import { type ModelUpdate, ModelUpdateSchema } from '@lonetree/proto';

/** Announcements as they come. Every scorer gets every one from its start on. */
export type ModelUpdates = {
  /** Begins to deliver; resolves at once, and goes on trying while the log is away. */
  follow(handle: (announcement: Announcement) => void): void;
  close(): Promise<void>;
};
export type Announcement = {
  readonly value: Uint8Array | null;
  readonly headers: Readonly<Record<string, Uint8Array>>;
};

const sizeMax = 64 << 10;

/** In Protobuf, or in its JSON form. */
export function decodeModelUpdate({
  value,
  headers,
}: Announcement): ModelUpdate | { readonly rejected: string } {
  if (value === null || value.length === 0) return { rejected: 'The message has no value.' };
  if (value.length > sizeMax)
    return { rejected: `The message has ${value.length} bytes; the most is ${sizeMax}.` };
  try {
    return isJson(value, headers)
      ? fromJson(ModelUpdateSchema, JSON.parse(new TextDecoder().decode(value)) as JsonValue, {
          ignoreUnknownFields: true,
        })
      : fromBinary(ModelUpdateSchema, value);
  } catch (error) {
    return { rejected: (error as Error).message };
  }
}

/** Told apart like readings: by its header, without one by its first byte. */
function isJson(value: Uint8Array, headers: Announcement['headers']): boolean {
  const contentType = headers['content-type'];
  if (contentType === undefined) return value[0] === '{'.charCodeAt(0);
  return new TextDecoder().decode(contentType).includes('json');
}
