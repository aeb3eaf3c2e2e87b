// The core's memory in WebAssembly: takes the place of core/memory.ts there. Same functions, one machine instruction each.

// @ts-nocheck: AssemblyScript, compiled by tools/build-core.js.

export function get8(p: i32): i32 {
  return load<u8>(p);
}

export function set8(p: i32, v: i32): void {
  store<u8>(p, v);
}

export function get16(p: i32): i32 {
  return load<u16>(p);
}

export function set16(p: i32, v: i32): void {
  store<u16>(p, v);
}

export function get32(p: i32): i32 {
  return load<i32>(p);
}

export function set32(p: i32, v: i32): void {
  store<i32>(p, v);
}

export function poke24(p: i32, v: i32): void {
  store<u16>(p, v);
  store<u8>(p + 2, v >> 16);
}

export function peek32(p: i32): i32 {
  return load<i32>(p);
}

export function fill(p: i32, value: i32, length: i32): void {
  memory.fill(p, <u8>value, length);
}

export function copy(to: i32, from: i32, length: i32): void {
  memory.copy(to, from, length);
}

export function addBytes(to: i32, from: i32, length: i32): void {
  let i = 0;
  for (; i + 16 <= length; i += 16) v128.store(to + i, i8x16.add(v128.load(to + i), v128.load(from + i)));
  for (; i < length; i++) store<u8>(to + i, load<u8>(to + i) + load<u8>(from + i));
}

export function subtractBytes(to: i32, a: i32, b: i32, length: i32): void {
  let i = 0;
  for (; i + 16 <= length; i += 16) v128.store(to + i, i8x16.sub(v128.load(a + i), v128.load(b + i)));
  for (; i < length; i++) store<u8>(to + i, load<u8>(a + i) - load<u8>(b + i));
}

export function mul32(a: i32, b: i32): i32 {
  return a * b;
}

export function div(a: i32, b: i32): i32 {
  return a / b;
}

export function clz(v: i32): i32 {
  return i32.clz(v);
}

export function matchForward(a: i32, b: i32, max: i32): i32 {
  let n = 0;
  while (n + 8 <= max) {
    const x = load<u64>(a + n) ^ load<u64>(b + n);
    if (x !== 0) return n + <i32>(i64.ctz(x) >> 3);
    n += 8;
  }
  while (n < max && load<u8>(a + n) === load<u8>(b + n)) n++;
  return n;
}

export function matchBackward(a: i32, b: i32, max: i32): i32 {
  let n = 0;
  while (n + 8 <= max) {
    const x = load<u64>(a - n - 8) ^ load<u64>(b - n - 8);
    if (x !== 0) return n + <i32>(i64.clz(x) >> 3);
    n += 8;
  }
  while (n < max && load<u8>(a - n - 1) === load<u8>(b - n - 1)) n++;
  return n;
}

/** Which of the 16 bytes at `a` and `b` are equal: bit 0 for the first. */
function equals(a: i32, b: i32): u64 {
  return <u64>(<u32>i8x16.bitmask(i8x16.eq(v128.load(a), v128.load(b))));
}

export function matchLoosely(a: i32, b: i32, max: i32, drop: i32): i32 {
  // The byte in front is the top bit.
  let equal = equals(a - 16, b - 16) << 48;
  equal |= (equals(a - 32, b - 32) << 32) | (equals(a - 48, b - 48) << 16) | equals(a - 64, b - 64);
  let score = 0;
  let best = 0;
  let length = 0;
  for (let k = 0; k < max;) {
    const rest = equal << k;
    // What was shifted in ends a run as what lies beyond `max` does.
    let run = <i32>i64.clz(~rest);
    if (run > max - k) run = max - k;
    score += run;
    k += run;
    if (score > best) {
      best = score;
      length = k;
    }
    if (k === max) break;
    if (--score < best - drop) break;
    k++;
  }
  return length;
}

export function equal8(a: i32, b: i32): bool {
  return load<u64>(a) === load<u64>(b);
}

export function mismatches(a: i32, b: i32, length: i32): i32 {
  let n = 0;
  let i = 0;
  for (; i + 16 <= length; i += 16) {
    const equal = i8x16.eq(v128.load(a + i), v128.load(b + i));
    n += 16 - i32.popcnt(i8x16.bitmask(equal));
  }
  for (; i < length; i++) n += i32(load<u8>(a + i) !== load<u8>(b + i));
  return n;
}

function high(h: u32, count: i32): i32 {
  return <i32>((<u64>h * <u64>(<u32>count)) >> 32);
}

export function seedHash(p: i32): i32 {
  let h: u32 = (load<u32>(p) * 0x9e3779b9) ^ (load<u32>(p + 4) * 0x7feb352d);
  h = (h ^ (h >> 15)) * 0x2c1b3c6d;
  return <i32>(h ^ (h >> 14));
}

let touched: i32 = 0;

export function touch(value: i32): void {
  touched ^= value;
}

export function tableKey(p: i32, stride: i32): i32 {
  if (load<u8>(p + 7) !== 0) return 0;
  const a = load<u64>(p);
  const b = load<u64>(p + stride);
  const first = b - a;
  const top = <i32>(first >> 32);
  if (top !== 0 && !(top === -1 && <u32>first !== 0)) return 0;
  if (first === 0) return 0;
  const c = load<u64>(p + 2 * stride);
  const second = c - b;
  if (second === 0) return 0;
  const third = load<u64>(p + 3 * stride) - c;
  if (third === 0) return 0;
  if (first === second && second === third) return 0;
  let h: u32 = (<u32>first * 0x9e3779b9) ^ (((<u32>(first >> 32)) ^ 0x5bd1e995) * 0x7feb352d);
  h = ((h ^ (h >> 15) ^ (<u32>second)) * 0x2c1b3c6d) ^ (<u32>(second >> 32) * 0x297a2d39);
  h = ((h ^ (h >> 13) ^ (<u32>third)) * 0x7feb352d) ^ (<u32>(third >> 32) * 0x9e3779b9);
  h ^= h >> 16;
  return h === 0 ? 1 : <i32>h;
}

export function slotOf(key: i32, slots: i32): i32 {
  return high(<u32>key, slots);
}

/** Differences of all 8 bytes at once, none borrowing from the next. */
function differences(a: u64, b: u64): u64 {
  const tops: u64 = 0x8080808080808080;
  return ((a | tops) - (b & ~tops)) ^ ((a ^ ~b) & tops);
}

export function repeats(a: i32, b: i32, back: i32): bool {
  const now = differences(load<u64>(a - 7), load<u64>(b - 7));
  return now === differences(load<u64>(a - 7 - back), load<u64>(b - 7 - back));
}
