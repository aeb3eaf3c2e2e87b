/** Pairs of files for tests of the delta engine: like programs, and like attacks. */

/** Reproducible bytes. */
export function noise(size: number, seed: number): Uint8Array {
  let state = seed | 1;
  const out = new Uint8Array(size);
  for (let i = 0; i < size; i++) {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    out[i] = state;
  }
  return out;
}

/**
 * Two versions of something like a program: words of code, pointers that all move, a relocation table, text, and places where
 * bytes were put in, taken out and moved.
 */
export function programLike(size: number, seed: number): [old: Uint8Array, fresh: Uint8Array] {
  const random = noise(size, seed);
  const old = new Uint8Array(size);
  const view = new DataView(old.buffer);
  for (let i = 0; i < size; i++) old[i] = (random[i] as number) & ((i >> 6) % 3 === 0 ? 0x0f : 0x3f);
  const moved = Math.floor(size / 3) & -16;
  for (let at = Math.floor(size / 2) & -8; at + 24 < (size * 3) / 4; at += 24) {
    view.setUint32(at, 0x400000 + ((at * 7) & 0xffff0) + (random[at] as number) * 16, true);
    view.setUint32(at + 8, 8, true);
    view.setUint32(at + 16, 0x500000 + at * 3, true);
  }
  const fresh = new Uint8Array(size + 500);
  fresh.set(old.subarray(0, moved));
  fresh.set(noise(500, seed + 1), moved);
  fresh.set(old.subarray(moved), moved + 500);
  const after = new DataView(fresh.buffer);
  for (let at = 64; at + 4 < moved; at += 256) after.setUint32(at, after.getUint32(at, true) + 500, true);
  for (let at = (Math.floor(size / 2) & -8) + 500; at + 24 < (size * 3) / 4; at += 24) {
    after.setUint32(at, after.getUint32(at, true) + 500, true);
    after.setUint32(at + 16, after.getUint32(at + 16, true) + 500, true);
  }
  fresh.copyWithin(size - 4000, 1000, 3000);
  return [old, fresh];
}

type Damage = (old: Uint8Array, other: Uint8Array) => Uint8Array;

/** Ways to make a new file of an old one and something else. */
export const DAMAGES: readonly Damage[] = [
  (_, other) => other,
  (old) => old,
  (old, other) => Uint8Array.from([...old, ...other]),
  (old, other) => Uint8Array.from([...old.subarray(old.length >> 1), ...other, ...old.subarray(0, old.length >> 1)]),
  (old, other) => old.map((byte, i) => byte + ((other[i % Math.max(1, other.length)] ?? 0) & 1)),
  (old) => Uint8Array.from([...old, ...old, ...old]),
];

/** Inputs that make naive engines quadratic, with their names. */
export function hostilePairs(size: number): [name: string, old: Uint8Array, fresh: Uint8Array][] {
  const zeros = new Uint8Array(size);
  const sprinkled = zeros.slice();
  for (let i = 0; i < size; i += 997) sprinkled[i] = i & 255 || 1;
  const period = (n: number) => Uint8Array.from({ length: size }, (_, i) => ((i % n) * 167) & 255);
  const changed = (bytes: Uint8Array, every: number) => bytes.map((b, i) => (i % every === 0 ? b ^ 0x55 : b));
  const random = noise(size, 11);
  return [
    ["zeros and zeros", zeros, zeros],
    ["zeros with changes", zeros, sprinkled],
    ["repeats of 16 bytes", period(16), changed(period(16), 80)],
    ["repeats of 1000 bytes", period(1000), changed(period(1000), 700)],
    ["random bytes", random, noise(size, 12)],
    ["identical files", random, random],
    ["random bytes in a sea of zeros", changed(zeros, 60), changed(zeros, 61)],
    ["an empty old file", new Uint8Array(0), random.subarray(0, 5000)],
    ["an empty new file", random, new Uint8Array(0)],
    ["files of one byte", Uint8Array.of(1), Uint8Array.of(2)],
  ];
}
