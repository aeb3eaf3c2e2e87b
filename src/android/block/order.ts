/**
 * Puts transfers into an order in which no block is read after it was written, saving blocks (stashes) where there is a cycle.
 *
 * First a sequence with little weight on backward edges (the greedy heuristic of Eades, Lin and Smyth for feedback arc sets),
 * then every edge that still points backwards becomes a stash, then a topological order that frees stashes early.
 */
import { intersect, overlaps, size, subtract, type Ranges } from "./ranges.ts";
import type { Transfer } from "./transfers.ts";

/** Fills `before` and `after`: who reads what another writes. */
export function linkTransfers(transfers: readonly Transfer[]): void {
  const writers: { start: number; end: number; by: Transfer }[] = [];
  for (const t of transfers) {
    t.before.clear();
    t.after.clear();
    for (let i = 0; i < t.target.length; i += 2) {
      writers.push({ start: t.target[i] as number, end: t.target[i + 1] as number, by: t });
    }
  }
  writers.sort((a, b) => a.start - b.start);
  for (const reader of transfers) {
    if (reader.style !== "diff") continue;
    for (let i = 0; i < reader.source.length; i += 2) {
      const [start, end] = [reader.source[i] as number, reader.source[i + 1] as number];
      let low = 0;
      let high = writers.length;
      while (low < high) {
        const middle = Math.floor((low + high) / 2);
        if ((writers[middle] as { end: number }).end <= start) low = middle + 1;
        else high = middle;
      }
      for (let k = low; k < writers.length && (writers[k] as { start: number }).start < end; k++) {
        const w = writers[k] as { start: number; end: number; by: Transfer };
        if (w.by === reader) continue;
        const weight = Math.min(end, w.end) - Math.max(start, w.start) + (reader.before.get(w.by) ?? 0);
        reader.before.set(w.by, weight);
        w.by.after.set(reader, weight);
      }
    }
  }
}

/** A heap of items by a number, ties by the order they were made with. */
class Heap<T> {
  readonly #items: { key: number; tie: number; value: T }[] = [];

  push(key: number, tie: number, value: T): void {
    const items = this.#items;
    items.push({ key, tie, value });
    for (let i = items.length - 1; i > 0;) {
      const parent = (i - 1) >> 1;
      if (!this.#less(i, parent)) break;
      this.#swap(i, parent);
      i = parent;
    }
  }

  pop(): T | undefined {
    const items = this.#items;
    const top = items[0];
    const last = items.pop();
    if (top === undefined || last === undefined) return undefined;
    if (items.length === 0) return top.value;
    items[0] = last;
    for (let i = 0; ;) {
      let least = i;
      for (const child of [2 * i + 1, 2 * i + 2]) if (child < items.length && this.#less(child, least)) least = child;
      if (least === i) break;
      this.#swap(i, least);
      i = least;
    }
    return top.value;
  }

  #less(a: number, b: number): boolean {
    const [x, y] = [this.#items[a], this.#items[b]] as [{ key: number; tie: number }, { key: number; tie: number }];
    return x.key < y.key || (x.key === y.key && x.tie < y.tie);
  }

  #swap(a: number, b: number): void {
    const x = this.#items[a] as { key: number; tie: number; value: T };
    this.#items[a] = this.#items[b] as { key: number; tie: number; value: T };
    this.#items[b] = x;
  }
}

function sum(values: Iterable<number>): number {
  let total = 0;
  for (const v of values) total += v;
  return total;
}

/** The heuristic sequence; sets `order`. */
function sequence(transfers: readonly Transfer[]): Transfer[] {
  const out = new Map(transfers.map((t) => [t, new Map(t.before)]));
  const into = new Map(transfers.map((t) => [t, new Map(t.after)]));
  const index = new Map(transfers.map((t, i) => [t, i]));
  const left = new Set(transfers);
  const first: Transfer[] = [];
  const last: Transfer[] = [];
  const heap = new Heap<{ t: Transfer; score: number }>();
  const score = new Map<Transfer, number>();
  const rate = (t: Transfer, value: number): void => {
    score.set(t, value);
    // Most outgoing weight first.
    heap.push(-value, index.get(t) as number, { t, score: value });
  };
  for (const t of transfers) rate(t, sum(t.before.values()) - sum(t.after.values()));

  let sinks = transfers.filter((t) => t.before.size === 0);
  let sources = transfers.filter((t) => t.after.size === 0);
  const remove = (t: Transfer): void => {
    left.delete(t);
    for (const u of (into.get(t) as Map<Transfer, number>).keys()) {
      const edges = out.get(u) as Map<Transfer, number>;
      const weight = edges.get(t) as number;
      edges.delete(t);
      if (!left.has(u)) continue;
      rate(u, (score.get(u) as number) - weight);
      if (edges.size === 0) sinks.push(u);
    }
    for (const u of (out.get(t) as Map<Transfer, number>).keys()) {
      const edges = into.get(u) as Map<Transfer, number>;
      const weight = edges.get(t) as number;
      edges.delete(t);
      if (!left.has(u)) continue;
      rate(u, (score.get(u) as number) + weight);
      if (edges.size === 0) sources.push(u);
    }
  };
  while (left.size > 0) {
    while (sinks.length > 0) {
      const now = sinks;
      sinks = [];
      for (const t of now) {
        if (!left.has(t)) continue;
        last.push(t);
        remove(t);
      }
    }
    while (sources.length > 0) {
      const now = sources;
      sources = [];
      for (const t of now) {
        if (!left.has(t)) continue;
        first.push(t);
        remove(t);
      }
    }
    if (sinks.length > 0 || left.size === 0) continue;
    for (let best = heap.pop(); best !== undefined; best = heap.pop()) {
      if (!left.has(best.t) || score.get(best.t) !== best.score) continue;
      first.push(best.t);
      remove(best.t);
      break;
    }
  }
  const ordered = [...first, ...last.reverse()];
  ordered.forEach((t, i) => (t.order = i));
  return ordered;
}

/** Blocks a transfer adds to the stash less those it lets go. */
function stashChange(t: Transfer): number {
  return sum(t.stashBefore.map((s) => size(s.blocks))) - sum(t.useStash.map((s) => size(s.blocks)));
}

/** A topological order; where there is a choice, the transfer that leaves the least in the stash. */
function improve(transfers: readonly Transfer[]): Transfer[] {
  const waiting = new Map(transfers.map((t) => [t, new Set(t.after.keys())]));
  const heap = new Heap<Transfer>();
  for (const t of transfers) if (t.after.size === 0) heap.push(stashChange(t), t.order, t);
  const ordered: Transfer[] = [];
  for (let t = heap.pop(); t !== undefined; t = heap.pop()) {
    ordered.push(t);
    for (const u of t.before.keys()) {
      const needs = waiting.get(u) as Set<Transfer>;
      needs.delete(t);
      if (needs.size === 0) heap.push(stashChange(u), u.order, u);
    }
  }
  ordered.forEach((t, i) => (t.order = i));
  return ordered;
}

/** Links, orders and breaks cycles, starting from the transfers as they stand. */
function attempt(transfers: readonly Transfer[]): Transfer[] {
  for (const t of transfers) {
    t.stashBefore.length = 0;
    t.useStash.length = 0;
  }
  linkTransfers(transfers);
  const ordered = sequence(transfers);
  let id = 0;
  for (const reader of ordered) {
    for (const writer of [...reader.before.keys()]) {
      if (reader.order < writer.order) continue;
      const saved = { id: id++, blocks: intersect(reader.source, writer.target) };
      reader.before.delete(writer);
      writer.after.delete(reader);
      writer.stashBefore.push(saved);
      reader.useStash.push(saved);
      reader.after.set(writer, 0);
      writer.before.set(reader, 0);
    }
  }
  return improve(ordered);
}

/** Most blocks saved at once, and all blocks that are ever saved. */
function stashCost(ordered: readonly Transfer[], implicit: boolean): { readonly most: number; readonly all: number } {
  let now = 0;
  let most = 0;
  let all = 0;
  for (const t of ordered) {
    for (const s of t.stashBefore) {
      now += size(s.blocks);
      all += size(s.blocks);
    }
    most = Math.max(most, now + (implicit && t.style === "diff" && overlaps(t.source, t.target) ? size(t.source) : 0));
    for (const s of t.useStash) now -= size(s.blocks);
  }
  return { most, all };
}

/** Beginnings for the heuristic, which decides ties by the order it finds. Deterministic, so packages are reproducible. */
function* beginnings(transfers: readonly Transfer[]): Generator<readonly Transfer[]> {
  const first = (r: Ranges): number => r[0] ?? 0;
  yield transfers;
  yield [...transfers].reverse();
  yield [...transfers].sort((a, b) => first(a.target) - first(b.target));
  yield [...transfers].sort((a, b) => first(b.target) - first(a.target));
  if (transfers.length > MANY) return;
  yield [...transfers].sort((a, b) => first(a.source) - first(b.source));
  yield [...transfers].sort((a, b) => size(b.target) - size(a.target));
  yield [...transfers].sort((a, b) => size(a.target) - size(b.target));
  let seed = 1;
  for (let round = 0; round < SHUFFLES; round++) {
    const shuffled = [...transfers];
    for (let i = shuffled.length - 1; i > 0; i--) {
      // Knuth's multiplicative generator modulo 2^31 - 1: exact in doubles.
      seed = (seed * 48271) % 0x7fffffff;
      const k = seed % (i + 1);
      [shuffled[i], shuffled[k]] = [shuffled[k] as Transfer, shuffled[i] as Transfer];
    }
    yield shuffled;
  }
}

const MANY = 5000;
const SHUFFLES = 12;

/**
 * The transfers in an order that can be executed, cycles broken by saving blocks. Several beginnings are tried and the one
 * with the least in the stash at once is taken, then the one with the fewest blocks saved at all.
 * @param implicit transfers over their own source need room, too (version 3 and later)
 */
export function orderWithStash(transfers: readonly Transfer[], implicit: boolean): Transfer[] {
  let best: readonly Transfer[] | undefined;
  let cost = { most: Infinity, all: Infinity };
  for (const start of beginnings(transfers)) {
    const found = stashCost(attempt(start), implicit);
    if (found.most > cost.most || (found.most === cost.most && found.all >= cost.all)) continue;
    best = start;
    cost = found;
    if (found.all === 0) break;
  }
  return attempt(best ?? transfers);
}

/**
 * The transfers in an order that can be executed without saving anything (version 1): source blocks that are overwritten
 * before they could be read are dropped, and a transfer without any is sent as new data.
 */
export function orderWithoutStash(transfers: readonly Transfer[]): Transfer[] {
  linkTransfers(transfers);
  const ordered = sequence(transfers);
  for (const reader of ordered) {
    for (const writer of reader.before.keys()) {
      if (reader.order < writer.order) continue;
      reader.source = subtract(reader.source, writer.target);
      reader.intact = false;
      if (reader.source.length === 0) reader.style = "new";
    }
  }
  return ordered;
}
