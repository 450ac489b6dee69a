// Linear memory. What is allocated stays: an instance holds one model for as long as it lives.

const pageSizeLog2: usize = 16;
let top: usize = 0;

/** Zeroed bytes at a multiple of 16, or 0 when the engine gives no more memory. */
export function allocate(size: usize): usize {
  if (top == 0) top = (__heap_base + 15) & ~15;
  const at = top;
  const end = (at + size + 15) & ~15;
  if (end < at) return 0;
  const pages = <i32>((end + 0xffff) >> pageSizeLog2);
  if (pages > memory.size() && memory.grow(pages - memory.size()) < 0) return 0;
  top = end;
  return at;
}

/** A place for at least `size` bytes that keeps the first `used` ones: the old place, or one of twice the size. */
export function enlarge(at: usize, capacity: usize, used: usize, size: usize): usize {
  if (size <= capacity) return at;
  const place = allocate(max(size, capacity * 2));
  if (place != 0 && used > 0) memory.copy(place, at, used);
  return place;
}
