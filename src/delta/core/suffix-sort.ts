/**
 * Suffix sorting by induction (Nong, Zhang, Chan: "Linear suffix array construction by almost pure induced sorting", 2009).
 * Linear in time whatever the bytes are, which a bzip2 block sorter needs: its input may be hostile.
 *
 * Texts are bytes at level 0 and 32-bit names below it. Marks are complements (negative), so that no array of types is kept:
 * an entry is complemented when its suffix does not induce the one in front of it in the current direction.
 */
import { fill, get32, get8, set32 } from "./memory.ts";

function at(text: number, wide: boolean, i: number): number {
  return wide ? get32(text + 4 * i) : get8(text + i);
}

function count(text: number, wide: boolean, n: number, counts: number, k: number): void {
  fill(counts, 0, 4 * k);
  for (let i = 0; i < n; i++) {
    const c = counts + 4 * at(text, wide, i);
    set32(c, get32(c) + 1);
  }
}

/** Where each symbol's bucket begins (or, with `ends`, ends). */
function borders(counts: number, buckets: number, k: number, ends: boolean): void {
  let sum = 0;
  for (let i = 0; i < k; i++) {
    const c = get32(counts + 4 * i);
    set32(buckets + 4 * i, ends ? sum + c : sum);
    sum += c;
  }
}

/**
 * Puts every leftmost S-type position (its left neighbour larger, the suffix smaller than the next) at the end of its
 * symbol's bucket. @returns how many there are.
 */
function placeLms(text: number, wide: boolean, n: number, sa: number, buckets: number): number {
  let found = 0;
  let right = at(text, wide, n - 1);
  let smaller = false; // type of i + 1: S?
  for (let i = n - 2; i >= 0; i--) {
    const c = at(text, wide, i);
    if (c < right) smaller = true;
    else if (c > right) {
      if (smaller) {
        const b = buckets + 4 * right;
        const to = get32(b) - 1;
        set32(b, to);
        set32(sa + 4 * to, i + 1);
        found++;
      }
      smaller = false;
    }
    right = c;
  }
  return found;
}

/**
 * Induces L-type suffixes from the left. Afterwards entries that go on inducing to the right side (their left neighbour is
 * S-type) are positive, all others complemented when `final`, or 0.
 */
function induceL(text: number, wide: boolean, n: number, sa: number, buckets: number, final: boolean): void {
  let c1 = at(text, wide, n - 1);
  let b = get32(buckets + 4 * c1);
  // The empty suffix, smallest of all, induces the last one.
  set32(sa + 4 * b, n > 1 && at(text, wide, n - 2) < c1 ? (n - 1) ^ -1 : n - 1);
  b++;
  for (let i = 0; i < n; i++) {
    const p = sa + 4 * i;
    const j = get32(p);
    if (j > 0) {
      const c0 = at(text, wide, j - 1);
      if (c0 !== c1) {
        set32(buckets + 4 * c1, b);
        c1 = c0;
        b = get32(buckets + 4 * c1);
      }
      set32(sa + 4 * b, j > 1 && at(text, wide, j - 2) < c0 ? (j - 1) ^ -1 : j - 1);
      b++;
      set32(p, final ? j ^ -1 : 0);
    } else if (j < 0) set32(p, j ^ -1);
    else if (final) set32(p, -1);
  }
}

/**
 * Induces S-type suffixes from the right. With `final` every entry ends as its suffix; otherwise leftmost S-type ones stay
 * complemented and all others are 0.
 */
function induceS(text: number, wide: boolean, n: number, sa: number, buckets: number, final: boolean): void {
  let c1 = 0;
  let b = get32(buckets);
  for (let i = n - 1; i >= 0; i--) {
    const p = sa + 4 * i;
    const j = get32(p);
    if (j > 0) {
      const c0 = at(text, wide, j - 1);
      if (c0 !== c1) {
        set32(buckets + 4 * c1, b);
        c1 = c0;
        b = get32(buckets + 4 * c1);
      }
      b--;
      const stops = j === 1 || at(text, wide, j - 2) > c0;
      set32(sa + 4 * b, stops ? (j - 1) ^ -1 : j - 1);
      if (!final) set32(p, 0);
    } else if (final) set32(p, j ^ -1);
  }
}

/** Gathers the complemented entries in front; gives how many. Position 0 is never leftmost S-type and is dropped. */
function gatherLms(sa: number, n: number): number {
  let m = 0;
  for (let i = 0; i < n; i++) {
    const j = get32(sa + 4 * i);
    if (j < -1) set32(sa + 4 * m++, j ^ -1);
  }
  return m;
}

/** Writes each leftmost S-type substring's length at `m + position / 2`. */
function lengthsOfLms(text: number, wide: boolean, n: number, sa: number, m: number): void {
  fill(sa + 4 * m, 0, 4 * (n - m));
  let right = at(text, wide, n - 1);
  let smaller = false;
  let end = n - 1;
  for (let i = n - 2; i >= 0; i--) {
    const c = at(text, wide, i);
    if (c < right) smaller = true;
    else if (c > right) {
      if (smaller) {
        set32(sa + 4 * (m + ((i + 1) >> 1)), end - i);
        end = i + 1;
      }
      smaller = false;
    }
    right = c;
  }
}

/** Names the sorted substrings; gives the number of different ones. */
function nameLms(text: number, wide: boolean, n: number, sa: number, m: number): number {
  let names = 0;
  let q = n;
  let qLength = 0;
  for (let i = 0; i < m; i++) {
    const p = get32(sa + 4 * i);
    const slot = sa + 4 * (m + (p >> 1));
    const length = get32(slot);
    let same = length === qLength && q + length < n;
    if (same) {
      let j = 0;
      while (j < length && at(text, wide, p + j) === at(text, wide, q + j)) j++;
      same = j === length;
    }
    if (!same) {
      names++;
      q = p;
      qLength = length;
    }
    set32(slot, names);
  }
  return names;
}

/** Replaces ranks at sa[0..m) by the positions they stand for, using `work` (m entries). */
function ranksToPositions(text: number, wide: boolean, n: number, sa: number, m: number, work: number): void {
  let right = at(text, wide, n - 1);
  let smaller = false;
  let to = m;
  for (let i = n - 2; i >= 0; i--) {
    const c = at(text, wide, i);
    if (c < right) smaller = true;
    else if (c > right) {
      if (smaller) set32(work + 4 * --to, i + 1);
      smaller = false;
    }
    right = c;
  }
  for (let i = 0; i < m; i++) set32(sa + 4 * i, get32(work + 4 * get32(sa + 4 * i)));
}

function sortLevel(text: number, wide: boolean, n: number, sa: number, k: number, work: number): void {
  if (n === 1) {
    set32(sa, 0);
    return;
  }
  const counts = work;
  const buckets = work + 4 * k;
  count(text, wide, n, counts, k);
  fill(sa, 0, 4 * n);
  borders(counts, buckets, k, true);
  const m = placeLms(text, wide, n, sa, buckets);
  if (m > 1) {
    borders(counts, buckets, k, false);
    induceL(text, wide, n, sa, buckets, false);
    borders(counts, buckets, k, true);
    induceS(text, wide, n, sa, buckets, false);
    gatherLms(sa, n);
    lengthsOfLms(text, wide, n, sa, m);
    const names = nameLms(text, wide, n, sa, m);
    const reduced = sa + 4 * (n - m);
    if (names < m) {
      let to = n - 1;
      for (let i = m + ((n - 1) >> 1); i >= m; i--) {
        const name = get32(sa + 4 * i);
        if (name !== 0) set32(sa + 4 * to--, name - 1);
      }
      sortLevel(reduced, true, m, sa, names, work + 8 * k);
      ranksToPositions(text, wide, n, sa, m, reduced);
    }
    // Sorted positions go to the ends of their buckets, right to left so that none is overwritten.
    fill(sa + 4 * m, 0, 4 * (n - m));
    borders(counts, buckets, k, true);
    for (let i = m - 1; i >= 0; i--) {
      const j = get32(sa + 4 * i);
      set32(sa + 4 * i, 0);
      const b = buckets + 4 * at(text, wide, j);
      const to = get32(b) - 1;
      set32(b, to);
      set32(sa + 4 * to, j);
    }
  }
  borders(counts, buckets, k, false);
  induceL(text, wide, n, sa, buckets, true);
  borders(counts, buckets, k, true);
  induceS(text, wide, n, sa, buckets, true);
}

/**
 * The suffix array of `n` > 0 bytes at `text`, 32-bit entries at `sa`. `work`: 2048 + 8 n bytes. An end marker smaller than
 * all bytes is implied.
 */
export function suffixSort(text: number, n: number, sa: number, work: number): void {
  sortLevel(text, false, n, sa, 256, work);
}
