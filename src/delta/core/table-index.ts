/**
 * Pointer and relocation tables: all words of an entry move together, so the bytes differ everywhere and no seed is found,
 * but the differences of successive words are the same. One slot for each key of {@link tableKey}; a key seen twice is
 * ambiguous and of no use.
 */
import { fill, get32, peek32, set32, slotOf, tableKey } from "./memory.ts";
import {
  ARENA_NEW,
  ARENA_NEW_SIZE,
  ARENA_TABLES,
  ARENA_TABLE_COUNT,
  JOB_OLD,
  JOB_OLD_SIZE,
  JOB_SLOTS,
  JOB_STRIDE,
  JOB_TABLE,
  MAX_TABLES,
} from "./work.ts";

/** A word position with this bit is ambiguous. */
const AMBIGUOUS = 0x40000000;

/** How many words between `from` and `to` (multiples of 8) have a key. */
export function countTableKeys(job: number, from: number, to: number): number {
  const old = get32(job + JOB_OLD);
  const stride = get32(job + JOB_STRIDE);
  const last = get32(job + JOB_OLD_SIZE) - 3 * stride - 8;
  const end = to < last + 1 ? to : last + 1;
  let count = 0;
  for (let p = from; p < end; p += 8) if (tableKey(old + p, stride) !== 0) count++;
  return count;
}

/** Fills the slots `first` to `last`. */
export function fillTable(job: number, first: number, last: number): void {
  const old = get32(job + JOB_OLD);
  const stride = get32(job + JOB_STRIDE);
  const end = get32(job + JOB_OLD_SIZE) - 3 * stride - 8;
  const slots = get32(job + JOB_SLOTS);
  const table = get32(job + JOB_TABLE);
  fill(table + 4 * first, 255, 4 * (last - first));
  for (let p = 0; p <= end; p += 8) {
    const key = tableKey(old + p, stride);
    if (key === 0) continue;
    const slot = slotOf(key, slots);
    if (slot < first || slot >= last) continue;
    const at = table + 4 * slot;
    const there = get32(at);
    if (there === -1) set32(at, p >> 3);
    else if ((there & AMBIGUOUS) === 0 && tableKey(old + ((there & 0x1fffffff) << 3), stride) === key) {
      set32(at, there | AMBIGUOUS);
    }
  }
}

/** Collects the table candidates of the arena's range; hits of one alignment one behind the other make one candidate. */
export function gatherTables(job: number, arena: number): number {
  const slots = get32(job + JOB_SLOTS);
  set32(arena + ARENA_TABLE_COUNT, 0);
  if (slots === 0) return 0;
  const old = get32(job + JOB_OLD);
  const stride = get32(job + JOB_STRIDE);
  const table = get32(job + JOB_TABLE);
  const fresh = get32(arena + ARENA_NEW);
  const span = 3 * stride + 8;
  const last = get32(arena + ARENA_NEW_SIZE) - span;
  const list = get32(arena + ARENA_TABLES);
  let count = 0;
  let alignment = 0;
  let end = -1;
  for (let p = 0; p <= last; p += 8) {
    const key = tableKey(fresh + p, stride);
    if (key === 0) continue;
    const there = get32(table + 4 * slotOf(key, slots));
    if (there < 0 || (there & AMBIGUOUS) !== 0) continue;
    const from = there << 3;
    if (tableKey(old + from, stride) !== key) continue;
    // Equal words are found by seeds.
    if (peek32(old + from) === peek32(fresh + p) && peek32(old + from + 4) === peek32(fresh + p + 4)) continue;
    if (from - p === alignment && p <= end) {
      end = p + span;
      set32(list + 12 * (count - 1) + 4, end);
      continue;
    }
    if (count === MAX_TABLES) break;
    alignment = from - p;
    end = p + span;
    set32(list + 12 * count, p);
    set32(list + 12 * count + 4, end);
    set32(list + 12 * count + 8, alignment);
    count++;
  }
  set32(arena + ARENA_TABLE_COUNT, count);
  return count;
}
