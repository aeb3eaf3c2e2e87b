/**
 * Chooses covers by modelled cost: a Viterbi search along new whose states are alignments and "literal". Prices are in 1/256
 * bit. Going on in a state costs its difference (or extra) bytes; entering an alignment costs a control entry.
 *
 * A state dearer than the best plus an entry can never be better than a fresh switch, so at most {@link MAX_STATES} live and
 * on average four do. A node (where a state was left for another) is only made when somebody leaves it.
 */
import { get16, get32, get8, matchForward, mul32, peek32, repeats, set32 } from "./memory.ts";
import {
  ARENA_CANDIDATES,
  ARENA_CANDIDATE_COUNT,
  ARENA_COVERS,
  ARENA_COVER_COUNT,
  ARENA_NEW,
  ARENA_NEW_SIZE,
  ARENA_NODES,
  ARENA_STATES,
  ARENA_TABLES,
  ARENA_TABLE_COUNT,
  JOB_LITERALS,
  JOB_OLD,
  JOB_OLD_SIZE,
  JOB_PRICES,
  MAX_NODES,
} from "./work.ts";

/** A control entry after bzip2: measured 4.3 to 5 bytes; 40 to 56 bits are within 1 %. */
const ENTRY = 13312;
/** Beginning a stretch of extra bytes. */
const LITERAL_ENTRY = 1280;
/** A changed byte that continues a repetition of changes. */
const REPEATED = 256;
const MAX_STATES = 64;
/** Prices are cut back when they reach this, so that any range fits 32 bits. */
const PRICE_LIMIT = 268435456;

// A state: 9 x i32 in 48 bytes. State 0 is the literal one.
const PRICE = 0;
const ALIGNMENT = 4;
const ENTERED = 8; // position where it was entered
const CONTEXT = 12;
const KEEP = 16; // end of the segment that introduced it
const FROM_ALIGNMENT = 20; // the state it was entered from,
const FROM_ENTERED = 24; // where that one was entered,
const FROM_NODE = 28; // and that one's node
const NODE = 32; // node of the state it was entered from, -1 until somebody needs it
const STATE_SIZE = 48;

/** Bytes for the states. */
export const STATES_SIZE = 3072 + STATE_SIZE;
/** Alignment of literal stretches. */
const LITERAL = -2147483648;
const NO_NODE = -1;
const ROOT = -2;

let states = 0;
let stateCount = 0; // with the literal one
let nodes = 0;
let nodeCount = 0;
let best = 0; // address of the cheapest state
let highest = 0; // price of the dearest one but for the literal one
let prices = 0;
let old = 0;
let oldSize = 0;
let fresh = 0;
let leaves = 0; // first position at which a state leaves old

function contextAfter(context: number, difference: number): number {
  if (difference === 0) return context < 15 ? context + 1 : context === 15 ? 15 : 0;
  if (context < 16) return 16 + difference;
  const row = (context - 16) >> 8;
  return 16 + ((row < 2 ? row + 1 : 2) << 8) + difference;
}

/** The node of the state `s` was entered from. */
function nodeOf(s: number): number {
  const node = get32(s + NODE);
  if (node !== NO_NODE) return node;
  const at = nodes + 12 * nodeCount;
  set32(at, get32(s + FROM_ALIGNMENT));
  set32(at + 4, get32(s + FROM_ENTERED));
  set32(at + 8, get32(s + FROM_NODE));
  set32(s + NODE, nodeCount);
  return nodeCount++;
}

/** Enters state `s` at position `i` from the best one. */
function enter(s: number, i: number, entry: number): void {
  const node = nodeOf(best);
  set32(s + PRICE, get32(best + PRICE) + entry);
  set32(s + CONTEXT, get32(best + CONTEXT));
  set32(s + FROM_ALIGNMENT, get32(best + ALIGNMENT));
  set32(s + FROM_ENTERED, get32(best + ENTERED));
  set32(s + FROM_NODE, node);
  set32(s + NODE, NO_NODE);
  set32(s + ENTERED, i);
}

/** Makes a state for a segment that begins to be valid at `i`, or lets the one of its alignment live longer. */
function introduce(i: number, end: number, alignment: number): void {
  if (end <= i) return;
  const q = i + alignment;
  if (q < 0 || q >= oldSize) return;
  let dearest = states;
  let price = -1;
  for (let k = 1; k < stateCount; k++) {
    const s = states + STATE_SIZE * k;
    if (get32(s + ALIGNMENT) === alignment) {
      if (get32(s + KEEP) < end) set32(s + KEEP, end);
      return;
    }
    if (get32(s + PRICE) > price && s !== best) {
      dearest = s;
      price = get32(s + PRICE);
    }
  }
  if (nodeCount >= MAX_NODES - 2 * MAX_STATES) return;
  let s = dearest;
  if (stateCount < MAX_STATES) s = states + STATE_SIZE * stateCount++;
  set32(s + ALIGNMENT, alignment);
  set32(s + KEEP, end);
  enter(s, i, ENTRY);
  if (oldSize - alignment < leaves) leaves = oldSize - alignment;
}

function findBest(): void {
  let cheapest = states;
  let lowest = get32(states + PRICE);
  let most = 0;
  for (let k = 1; k < stateCount; k++) {
    const s = states + STATE_SIZE * k;
    const price = get32(s + PRICE);
    if (price > most) most = price;
    if (price < lowest) {
      lowest = price;
      cheapest = s;
    }
  }
  best = cheapest;
  highest = most;
}

function copyState(to: number, from: number): void {
  for (let k = 0; k < STATE_SIZE; k += 4) set32(to + k, get32(from + k));
}

/** Drops or enters again what has become dearer than a switch from the best, at position `i`. */
function prune(i: number): void {
  const price = get32(best + PRICE);
  const limit = price + ENTRY;
  if (highest > limit) dropDear(i, limit);
  if (get32(states + PRICE) > price + LITERAL_ENTRY && best !== states) enter(states, i, LITERAL_ENTRY);
  if (price > PRICE_LIMIT) {
    for (let k = 0; k < stateCount; k++) {
      const s = states + STATE_SIZE * k;
      set32(s + PRICE, get32(s + PRICE) - price);
    }
  }
}

/** The same of states alone, with prices beyond `limit`. */
function dropDear(i: number, limit: number): void {
  const full = nodeCount >= MAX_NODES - 2 * MAX_STATES;
  for (let k = stateCount - 1; k >= 1; k--) {
    const s = states + STATE_SIZE * k;
    if (get32(s + PRICE) <= limit) continue;
    if (i < get32(s + KEEP) && !full) {
      enter(s, i, ENTRY);
      continue;
    }
    stateCount--;
    const last = states + STATE_SIZE * stateCount;
    if (last !== s) {
      copyState(s, last);
      if (best === last) best = s;
    }
  }
}

/** Drops the states that leave old at position `i`. The literal state is never dearer than leaving them for it. */
function dropOutside(i: number): void {
  leaves = 2147483647;
  for (let k = stateCount - 1; k >= 1; k--) {
    const s = states + STATE_SIZE * k;
    const end = oldSize - get32(s + ALIGNMENT);
    if (i < end) {
      if (end < leaves) leaves = end;
      continue;
    }
    stateCount--;
    copyState(s, states + STATE_SIZE * stateCount);
  }
  findBest();
}

/** How far from `i` every state is in a run of zeros and goes on so, at most to `end`; 0 when it is not 4 bytes. */
function commonRun(i: number, end: number): number {
  let most = end - i;
  if (most < 4 || stateCount < 2) return 0;
  const word = peek32(fresh + i);
  for (let k = 1; k < stateCount; k++) {
    const s = states + STATE_SIZE * k;
    if (get32(s + CONTEXT) >= 16) return 0;
    const q = i + get32(s + ALIGNMENT);
    if (q + 4 > oldSize || peek32(old + q) !== word) return 0;
    if (oldSize - q < most) most = oldSize - q;
  }
  for (let k = 1; k < stateCount; k++) {
    const s = states + STATE_SIZE * k;
    most = 4 + matchForward(fresh + i + 4, old + i + get32(s + ALIGNMENT) + 4, most - 4);
  }
  return most;
}

/** All states take `length` zeros. */
function takeRun(i: number, length: number, literals: number): void {
  for (let k = 1; k < stateCount; k++) {
    const s = states + STATE_SIZE * k;
    let context = get32(s + CONTEXT);
    let price = get32(s + PRICE);
    let left = length;
    while (context < 15 && left > 0) {
      price += get16(prices + 512 * context);
      context++;
      left--;
    }
    price += mul32(left, get16(prices + 512 * 15));
    set32(s + PRICE, price);
    set32(s + CONTEXT, context);
  }
  // The literal state is followed only as long as it can matter.
  let cheapest = get32(states + STATE_SIZE + PRICE);
  for (let k = 2; k < stateCount; k++) {
    const price = get32(states + STATE_SIZE * k + PRICE);
    if (price < cheapest) cheapest = price;
  }
  let price = get32(states + PRICE);
  let last = i > 0 ? get8(fresh + i - 1) : 0;
  for (let k = 0; k < length && price <= cheapest + LITERAL_ENTRY; k++) {
    const byte = get8(fresh + i + k);
    price += get16(literals + 2 * ((last << 8) | byte));
    last = byte;
  }
  set32(states + PRICE, price);
}

/** All states take the byte at `i`, and the best is found: what {@link findBest} would do, on the way. */
function takeByte(i: number, literals: number): void {
  const byte = get8(fresh + i);
  const last = i > 0 ? get8(fresh + i - 1) : 0;
  const here = old + i;
  const table = prices;
  let cheapest = states;
  let lowest = get32(states + PRICE) + get16(literals + 2 * ((last << 8) | byte));
  let most = 0;
  set32(states + PRICE, lowest);
  const end = states + STATE_SIZE * stateCount;
  for (let s = states + STATE_SIZE; s !== end; s += STATE_SIZE) {
    const alignment = get32(s + ALIGNMENT);
    const context = get32(s + CONTEXT);
    const difference = (byte - get8(here + alignment)) & 255;
    let price = get16(table + 2 * ((context << 8) | difference));
    if (difference !== 0 && price > REPEATED && isRepeated(i, i + alignment)) price = REPEATED;
    price += get32(s + PRICE);
    set32(s + PRICE, price);
    set32(s + CONTEXT, contextAfter(context, difference));
    if (price > most) most = price;
    if (price < lowest) {
      lowest = price;
      cheapest = s;
    }
  }
  best = cheapest;
  highest = most;
}

function isRepeated(i: number, q: number): boolean {
  if (i < 31 || q < 31) return false;
  return repeats(fresh + i, old + q, 24) || repeats(fresh + i, old + q, 16);
}

/** Follows the cheapest path back and writes its covers in ascending order; gives their number. */
function trace(arena: number, size: number): number {
  const covers = get32(arena + ARENA_COVERS);
  let count = 0;
  let end = size;
  let alignment = get32(best + ALIGNMENT);
  let start = get32(best + ENTERED);
  let node = nodeOf(best);
  for (;;) {
    if (alignment !== LITERAL && end > start) {
      set32(covers + 12 * count, start);
      set32(covers + 12 * count + 4, end - start);
      set32(covers + 12 * count + 8, alignment);
      count++;
    }
    end = start;
    if (node < 0) break;
    const at = nodes + 12 * node;
    alignment = get32(at);
    start = get32(at + 4);
    node = get32(at + 8);
  }
  for (let a = 0, b = count - 1; a < b; a++, b--) {
    for (let k = 0; k < 12; k += 4) {
      const x = get32(covers + 12 * a + k);
      set32(covers + 12 * a + k, get32(covers + 12 * b + k));
      set32(covers + 12 * b + k, x);
    }
  }
  set32(arena + ARENA_COVER_COUNT, count);
  return count;
}

/** Chooses the covers of the arena's range from its candidates by the job's prices; gives their number. */
export function select(job: number, arena: number): number {
  old = get32(job + JOB_OLD);
  oldSize = get32(job + JOB_OLD_SIZE);
  prices = get32(job + JOB_PRICES);
  const literals = get32(job + JOB_LITERALS);
  fresh = get32(arena + ARENA_NEW);
  const size = get32(arena + ARENA_NEW_SIZE);
  states = get32(arena + ARENA_STATES);
  nodes = get32(arena + ARENA_NODES);
  const list = get32(arena + ARENA_CANDIDATES);
  const listEnd = list + 12 * get32(arena + ARENA_CANDIDATE_COUNT);
  const tables = get32(arena + ARENA_TABLES);
  const tablesEnd = tables + 12 * get32(arena + ARENA_TABLE_COUNT);
  let candidate = list;
  let tableCandidate = tables;
  nodeCount = 0;
  leaves = 2147483647;
  stateCount = 1;
  best = states;
  set32(states + PRICE, 0);
  set32(states + ALIGNMENT, LITERAL);
  set32(states + ENTERED, 0);
  set32(states + CONTEXT, 15);
  set32(states + KEEP, 0);
  set32(states + NODE, ROOT);
  for (let i = 0; i < size;) {
    if (i >= leaves) dropOutside(i);
    while (candidate !== listEnd && get32(candidate) <= i) {
      introduce(i, get32(candidate + 4), get32(candidate + 8));
      candidate += 12;
    }
    while (tableCandidate !== tablesEnd && get32(tableCandidate) <= i) {
      introduce(i, get32(tableCandidate + 4), get32(tableCandidate + 8));
      tableCandidate += 12;
    }
    let next = size;
    if (candidate !== listEnd && get32(candidate) < next) next = get32(candidate);
    if (tableCandidate !== tablesEnd && get32(tableCandidate) < next) next = get32(tableCandidate);
    const run = commonRun(i, next);
    if (run > 0) {
      takeRun(i, run, literals);
      findBest();
      i += run;
    } else {
      takeByte(i, literals);
      i++;
    }
    prune(i);
  }
  return trace(arena, size);
}
