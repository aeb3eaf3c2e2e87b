/** Damaged deltas and hostile containers by seed: what every decoder and every maker must survive. */
import { deflateRaw, gzip, deflate } from "pako";
import { concatBytes, equalBytes } from "../../src/core/bytes.ts";
import { isOtaError } from "../../src/core/errors.ts";
import type { ByteStream } from "../../src/core/ports.ts";
import { memoryReader } from "../../src/core/streams.ts";
import { applyForge, createPlainMaker, makeForge, makeOtaforge, CoverList } from "../../src/delta/index.ts";
import { FORGE_HEADER } from "../../src/delta/forge/layout.ts";
import { frameSizeOf, parseForgeHeader } from "../../src/delta/forge/read.ts";
import { nodeDigests as digests } from "../../src/device/digests.ts";

export type Random = () => number;

/** 31-bit numbers, the same for the same seed. */
export function randomOf(seed: number): Random {
  let state = (seed * 2654435761) >>> 0;
  return () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state >>> 1;
  };
}

export function text(words: number, seed: number): Uint8Array {
  const random = randomOf(seed);
  const parts = Array.from({ length: words }, () => `word${random() % 50} ${random() % 7 === 0 ? random() : "again"} `);
  return new TextEncoder().encode(parts.join(""));
}

/** A zip of one deflated entry and what a reader needs. */
export function zipOf(content: Uint8Array): Uint8Array {
  const packed = deflateRaw(content);
  const head = new DataView(new ArrayBuffer(31));
  head.setUint32(0, 0x04034b50, true);
  head.setUint16(6, 8, true);
  head.setUint16(8, 8, true);
  head.setUint32(18, packed.length, true);
  head.setUint32(22, content.length, true);
  head.setUint16(26, 1, true);
  head.setUint8(30, 0x61);
  return concatBytes(new Uint8Array(head.buffer), packed, new TextEncoder().encode("PK\x01\x02 and so on"));
}

/** A pair with plain and packed parts of all kinds inside the toolkit. */
export function samplePair(words: number): { old: Uint8Array; fresh: Uint8Array } {
  const a = text(words, 1);
  const b = concatBytes(a.subarray(0, 900), text(9, 9), a.subarray(960));
  const file = (x: Uint8Array, more: Uint8Array) =>
    concatBytes(x, gzip(x), more, deflate(x.subarray(500), { level: 9 }), zipOf(x.subarray(100, 900)), more);
  return { old: file(a, text(10, 4)), fresh: file(b, text(12, 5)) };
}

function sha256(bytes: Uint8Array): Uint8Array {
  const digest = digests.create("sha256");
  digest.update(bytes);
  return digest.digest();
}

/** The digests of a changed delta made right again, as an attacker would. */
export function resealed(patch: Uint8Array): Uint8Array {
  const out = patch.slice();
  if (out.length < FORGE_HEADER.size) return out;
  let frameSize = out.length;
  try {
    frameSize = Math.min(out.length, frameSizeOf(parseForgeHeader(out)));
  } catch (e) {
    if (!isOtaError(e)) throw e;
  }
  const { frameDigest, bodyDigest } = FORGE_HEADER.fields;
  out.set(sha256(out.subarray(frameSize)), bodyDigest.offset);
  out.fill(0, frameDigest.offset, frameDigest.offset + 32);
  out.set(sha256(out.subarray(0, frameSize)), frameDigest.offset);
  return out;
}

/** Changes bytes in one of several ways. */
export function mutated(bytes: Uint8Array, random: Random): Uint8Array {
  const out = bytes.slice();
  const at = random() % Math.max(1, out.length);
  switch (random() % 6) {
    case 0:
      out[at] = random() & 255;
      return out;
    case 1:
      out[at] = (out[at] as number) ^ (1 << (random() % 8));
      return out;
    case 2:
      out.fill(random() % 2 === 0 ? 0 : 255, at, at + 1 + (random() % 8));
      return out;
    case 3:
      return out.subarray(0, at);
    case 4: {
      const n = 1 + (random() % 40);
      return concatBytes(out.subarray(0, at), out.subarray(Math.min(out.length, at + n)));
    }
    default: {
      const from = random() % Math.max(1, out.length);
      return concatBytes(out.subarray(0, at), out.subarray(from, from + (random() % 60)), out.subarray(at));
    }
  }
}

async function* pieces(bytes: Uint8Array, size: number): ByteStream {
  for (let at = 0; at < bytes.length; at += size) yield bytes.slice(at, at + size);
}

/** What a delta gives: bytes until the end or until a typed error. Any other error is thrown. */
async function outcome(
  old: Uint8Array,
  patch: Uint8Array,
  arriving: boolean,
): Promise<{ bytes: Uint8Array; code?: string }> {
  const parts: Uint8Array[] = [];
  const input = arriving ? pieces(patch, 777) : memoryReader(patch);
  try {
    for await (const part of applyForge(memoryReader(old), input, { digests, memoryLimit: 256 * 1024 * 1024 })) {
      parts.push(part);
    }
  } catch (e) {
    if (!isOtaError(e)) throw e;
    return { bytes: concatBytes(...parts), code: e.code };
  }
  return { bytes: concatBytes(...parts) };
}

/** Runs `count` damaged deltas; gives how many were refused and how many made new. @throws Error for anything else */
export async function runDamagedDeltas(count: number, seed: number): Promise<{ refused: number; right: number }> {
  const { old, fresh } = samplePair(300);
  const settings = { digests, effort: "fast", blockSize: 4096 } as const;
  const patch = await makeOtaforge(createPlainMaker(), memoryReader(old), memoryReader(fresh), settings);
  const frameSize = frameSizeOf(parseForgeHeader(patch));
  const random = randomOf(seed);
  const total = { refused: 0, right: 0 };
  for (let i = 0; i < count; i++) {
    // Half of the changes hit header and table, where numbers are.
    const front = random() % 2 === 0;
    let changed = front
      ? concatBytes(mutated(patch.subarray(0, frameSize), random), patch.subarray(frameSize))
      : mutated(patch, random);
    if (random() % 4 === 0) changed = mutated(changed, random);
    if (random() % 8 !== 0) changed = resealed(changed);
    const arriving = random() % 4 === 0;
    const { bytes, code } = await outcome(old, changed, arriving);
    if (code === undefined) {
      // Numbers nobody uses (memory) may change and new is right all the same.
      if (!equalBytes(bytes, fresh)) throw new Error(`seed ${seed}, mutation ${i}: wrong bytes without an error`);
      total.right++;
      continue;
    }
    if (!/^(FORGE|LAYOUT|READ)_/.test(code)) throw new Error(`seed ${seed}, mutation ${i}: ${code}`);
    if (!arriving && bytes.length > 0) throw new Error(`seed ${seed}, mutation ${i}: ${code} behind the first byte`);
    if (!equalBytes(bytes, fresh.subarray(0, bytes.length)))
      throw new Error(`seed ${seed}, mutation ${i}: wrong bytes`);
    total.refused++;
  }
  return total;
}

/** Makes and applies a delta of two files without looking for covers: what is tested is the opening of containers. */
export async function proven(old: Uint8Array, fresh: Uint8Array): Promise<{ size: number; opened: number }> {
  const delta = await makeForge(memoryReader(old), memoryReader(fresh), { digests, covers: () => new CoverList() });
  const patch = concatBytes(...delta.parts);
  const { bytes, code } = await outcome(old, patch, false);
  if (code !== undefined || !equalBytes(bytes, fresh)) throw new Error(`not proven: ${code ?? "other bytes"}`);
  return { size: patch.length, opened: delta.opened };
}

/** Runs `count` pairs of damaged containers. @throws Error when one is not made again exactly */
export async function runDamagedContainers(count: number, seed: number): Promise<number> {
  const random = randomOf(seed);
  const { old, fresh } = samplePair(150);
  let opened = 0;
  for (let i = 0; i < count; i++) {
    const damage = (x: Uint8Array) => (random() % 3 === 0 ? x : mutated(mutated(x.subarray(1000), random), random));
    opened += (await proven(damage(old), damage(fresh))).opened;
  }
  return opened;
}
