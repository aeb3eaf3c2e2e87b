/** Settings of each effort, and where everything lies in the core's memory. */
import { PIECE_RAW } from "../core/bzip2-cut.ts";
import { RECENT_SIZE } from "../core/candidates.ts";
import { COUNTS_SIZE } from "../core/emit.ts";
import { STATES_SIZE } from "../core/select.ts";
import {
  ARENA_CANDIDATES,
  ARENA_COUNTS,
  ARENA_COVERS,
  ARENA_DIFF,
  ARENA_EXTRA,
  ARENA_NEW,
  ARENA_NODES,
  ARENA_RECENT,
  ARENA_SIZE,
  ARENA_STATES,
  ARENA_TABLES,
  GUARD,
  JOB_HEADS,
  JOB_LITERALS,
  JOB_OLD,
  JOB_OLD_SIZE,
  JOB_PATIENT,
  JOB_PRICES,
  JOB_SEED_BITS,
  JOB_SIZE,
  JOB_SPREAD,
  JOB_STEP,
  JOB_STRIDE,
  MAX_CANDIDATES,
  MAX_NODES,
  MAX_TABLES,
  RANGE_SIZE,
} from "../core/work.ts";
import { CUT_FINE, CUT_SMALL, CUT_TO_FIT, PIECE_MEMORY_SIZE, type Cutting } from "../bzip2/writer.ts";
import { PROGRAM_PRIOR, ROUGH_PRIOR } from "./prior.ts";
import { LITERAL_COUNT, PRICE_COUNT, type Prior } from "./prices.ts";

/** How much time a patch may cost. */
export type Effort = "fast" | "default" | "max";

export interface Settings {
  /**
   * Distance of indexed seeds for a small window; larger ones index fewer. 8 instead of 4 takes 12 % less time and makes patches of
   * programs 1 to 4 % larger.
   */
  readonly step: number;
  /** Searches: each but the first with prices learnt from the one before. */
  readonly passes: number;
  readonly patient: boolean;
  /** Positions tried all over a bucket, beside those near the running alignments. With one pass they mislead: 0 is smaller and 15 % faster. */
  readonly spread: 0 | 2 | 4;
  readonly cutting: Cutting;
  /**
   * Whether the differences of a range are compressed by themselves, in blocks of equal size, by the lane that found them: no lane
   * waits for the ranges in front. Otherwise they are cut where it fits the whole stream.
   */
  readonly apart: boolean;
  /** Bytes of new, of up to 16 MiB, that are searched at a time. */
  readonly smallRange: number;
  /** Prices of the first pass. */
  readonly prior: Prior;
}

export const SETTINGS: Readonly<Record<Effort, Settings>> = Object.freeze({
  fast: {
    step: 8,
    passes: 1,
    patient: false,
    spread: 0,
    cutting: CUT_SMALL,
    apart: true,
    smallRange: RANGE_SIZE / 8,
    prior: PROGRAM_PRIOR,
  },
  default: {
    step: 2,
    passes: 2,
    patient: false,
    spread: 2,
    cutting: CUT_TO_FIT,
    apart: false,
    smallRange: RANGE_SIZE / 4,
    prior: ROUGH_PRIOR,
  },
  max: {
    step: 1,
    passes: 3,
    patient: true,
    spread: 4,
    cutting: CUT_FINE,
    apart: false,
    smallRange: RANGE_SIZE / 4,
    prior: ROUGH_PRIOR,
  },
});

export function isEffort(text: string): text is Effort {
  return Object.hasOwn(SETTINGS, text);
}

/** Entry distance of the tables looked for: ELF64 RELA. */
const TABLE_STRIDE = 24;

/** Largest window of old that is indexed at a time. */
export const WINDOW_SIZE = 1024 * 1024 * 1024;
const MIB = 1024 * 1024;

function align(n: number): number {
  return Math.ceil(n / 64) * 64;
}

/** Distance of indexed seeds in a window. */
export function stepFor(settings: Settings, size: number): number {
  // At 4, a gibibyte of dense old took 2.6 GiB with its index.
  const least = size <= 256 * MIB ? 1 : size <= 384 * MIB ? 2 : size <= 768 * MIB ? 4 : 8;
  return Math.max(least, settings.step);
}

/** New of up to this size is one range, bytes. */
const SINGLE_RANGE = RANGE_SIZE / 4;

/**
 * Bytes of new that are searched at a time. It depends on new alone, so that any number of workers does the same; small files are
 * cut finer, or a second worker would wait for the first. A seam costs little: 1 MiB instead of 4 makes patches 0.05 % larger.
 */
export function rangeSizeFor(settings: Settings, newSize: number): number {
  // A range of its own costs up to 100 bytes where it brings blocks of its own, and saves no time that anybody would see.
  if (newSize <= SINGLE_RANGE) return SINGLE_RANGE;
  if (newSize <= 16 * MIB) return settings.smallRange;
  return newSize <= 64 * MIB ? RANGE_SIZE / 2 : RANGE_SIZE;
}

/** Addresses of a job, common to all lanes. */
export interface JobLayout {
  readonly job: number;
  readonly prices: number;
  readonly literals: number;
  readonly old: number;
  readonly oldSize: number;
  readonly heads: number;
  /** Scratch of the scheduling thread: a stream's bytes waiting to become pieces. */
  readonly scan: number;
  readonly firstArena: number;
}

export function jobLayout(oldSize: number, settings: Settings): JobLayout {
  const step = stepFor(settings, oldSize);
  const prices = align(JOB_SIZE + GUARD);
  const literals = prices + 2 * PRICE_COUNT;
  const scan = align(literals + 2 * LITERAL_COUNT);
  const old = align(scan + PIECE_RAW + GUARD);
  const heads = align(old + oldSize + GUARD);
  // At worst every seed is taken and every word has a table key; what is not needed is never touched.
  const seeds = Math.ceil(oldSize / step);
  const firstArena = align(heads + 4 * (seeds / 2 + 64) + 4 * seeds + oldSize / 2 + 4096);
  return { job: 0, prices, literals, old, oldSize, heads, scan, firstArena };
}

/** Addresses of a lane's arena. Its range and its piece encoder use the same memory, one after the other. */
export interface ArenaLayout {
  readonly arena: number;
  readonly counts: number;
  readonly fresh: number;
  readonly candidates: number;
  readonly tables: number;
  readonly states: number;
  readonly nodes: number;
  readonly covers: number;
  readonly diff: number;
  readonly extra: number;
  readonly recent: number;
  readonly piece: number;
  readonly end: number;
}

export function arenaLayout(start: number): ArenaLayout {
  const arena = start;
  const recent = align(arena + ARENA_SIZE);
  const states = align(recent + RECENT_SIZE);
  const counts = align(states + STATES_SIZE);
  const piece = align(counts + COUNTS_SIZE);
  const fresh = align(piece + GUARD);
  const candidates = align(fresh + RANGE_SIZE + GUARD);
  const tables = align(candidates + 12 * MAX_CANDIDATES);
  const nodes = align(tables + 12 * MAX_TABLES);
  const covers = align(nodes + 12 * MAX_NODES);
  const diff = align(covers + 12 * MAX_NODES);
  const extra = align(diff + RANGE_SIZE);
  const end = align(Math.max(extra + RANGE_SIZE, piece + PIECE_MEMORY_SIZE) + GUARD);
  return { arena, counts, fresh, candidates, tables, states, nodes, covers, diff, extra, recent, piece, end };
}

/** Writes the job's fields but those that {@link indexSteps} finds out. */
export function writeJob(memory: ArrayBufferLike, layout: JobLayout, settings: Settings): void {
  const words = new Int32Array(memory);
  const set = (field: number, value: number) => (words[(layout.job + field) / 4] = value);
  set(JOB_OLD, layout.old);
  set(JOB_OLD_SIZE, layout.oldSize);
  const step = stepFor(settings, layout.oldSize);
  set(JOB_STEP, step);
  set(JOB_SEED_BITS, Math.max(1, 32 - Math.clz32(Math.floor(layout.oldSize / step))));
  set(JOB_HEADS, layout.heads);
  set(JOB_STRIDE, TABLE_STRIDE);
  set(JOB_PRICES, layout.prices);
  set(JOB_LITERALS, layout.literals);
  set(JOB_PATIENT, settings.patient ? 1 : 0);
  set(JOB_SPREAD, settings.spread);
}

export function writeArena(memory: ArrayBufferLike, layout: ArenaLayout): void {
  const words = new Int32Array(memory);
  const set = (field: number, value: number) => (words[(layout.arena + field) / 4] = value);
  set(ARENA_NEW, layout.fresh);
  set(ARENA_CANDIDATES, layout.candidates);
  set(ARENA_TABLES, layout.tables);
  set(ARENA_STATES, layout.states);
  set(ARENA_NODES, layout.nodes);
  set(ARENA_COVERS, layout.covers);
  set(ARENA_COUNTS, layout.counts);
  set(ARENA_DIFF, layout.diff);
  set(ARENA_EXTRA, layout.extra);
  set(ARENA_RECENT, layout.recent);
  new Uint8Array(memory, layout.counts, COUNTS_SIZE).fill(0);
}
