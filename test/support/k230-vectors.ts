/** Reads the golden vectors of the K230 for tests: images, disks, expectations. */
import { createHash } from "node:crypto";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { gunzipSync } from "node:zlib";
import type { BlockTarget } from "../../src/core/ports.ts";
import { OtaError } from "../../src/core/errors.ts";

const ROOT = join(import.meta.dirname, "../vectors/k230");

export function vectorNames(prefix: string): string[] {
  return readdirSync(ROOT).filter((n) => n.startsWith(prefix));
}

export const vectorPath = (...parts: string[]): string => join(ROOT, ...parts);

export function vectorJson<T>(name: string, file: string): T {
  return JSON.parse(readFileSync(join(ROOT, name, file), "utf8")) as T;
}

export function vectorBytes(name: string, file: string): Uint8Array {
  const bytes = readFileSync(join(ROOT, name, file));
  return file.endsWith(".gz") ? gunzipSync(bytes) : bytes;
}

export const sha256Hex = (bytes: Uint8Array): string => createHash("sha256").update(bytes).digest("hex");

interface Extent {
  offset: number;
  hex?: string;
  byte?: number;
  ctr?: string;
  length?: number;
  file?: string;
}

function counterBytes(seed: string, length: number): Uint8Array {
  const parts: Buffer[] = [];
  for (let i = 0; i * 32 < length; i++) parts.push(createHash("sha256").update(`${seed}:${i}`).digest());
  return Buffer.concat(parts).subarray(0, length);
}

/** The disk a case begins with. */
export function vectorDisk(name: string): Uint8Array {
  const spec = vectorJson<{ size: number; fill: number; extents: Extent[]; sha256: string }>(name, "disk-before.json");
  const disk = new Uint8Array(spec.size).fill(spec.fill);
  for (const e of spec.extents) {
    if (e.hex !== undefined) disk.set(Buffer.from(e.hex, "hex"), e.offset);
    else if (e.byte !== undefined) disk.fill(e.byte, e.offset, e.offset + (e.length ?? 0));
    else if (e.ctr !== undefined) disk.set(counterBytes(e.ctr, e.length ?? 0), e.offset);
    else if (e.file !== undefined) {
      const inCase = join(ROOT, name, e.file);
      disk.set(readFileSync(existsSync(inCase) ? inCase : join(ROOT, "common", e.file)), e.offset);
    }
  }
  if (sha256Hex(disk) !== spec.sha256) throw new Error(`${name}: the disk is not what the vector says`);
  return disk;
}

/** A card in memory that notes every write, and fails or lies where a case says so. */
export class MemoryCard implements BlockTarget {
  readonly path = "/dev/card";
  readonly writes: [offset: number, length: number][] = [];
  readonly log: string[] = [];
  flushes = 0;
  closed = false;
  /** That write, counted from 1, fails. */
  failWrite: number | undefined;
  /** Bit 0 of this byte reads inverted. */
  flipRead: number | undefined;
  readonly bytes: Uint8Array;

  constructor(bytes: Uint8Array) {
    this.bytes = bytes;
  }

  get size(): number {
    return this.bytes.length;
  }

  async read(offset: number, length: number): Promise<Uint8Array> {
    if (offset + length > this.size) throw new OtaError("READ_PAST_END", `read past the end at ${offset}`);
    const out = this.bytes.slice(offset, offset + length);
    const flip = this.flipRead;
    if (flip !== undefined && flip >= offset && flip < offset + length)
      out[flip - offset] = (out[flip - offset] ?? 0) ^ 1;
    return out;
  }

  async write(offset: number, bytes: Uint8Array): Promise<void> {
    if (this.failWrite === this.writes.length + 1) throw new OtaError("DEVICE_IO", "write failed");
    if (offset + bytes.length > this.size) throw new OtaError("DEVICE_IO", "write past the end");
    this.writes.push([offset, bytes.length]);
    this.log.push(`write ${offset} ${bytes.length}`);
    this.bytes.set(bytes, offset);
  }

  async flush(): Promise<void> {
    this.flushes++;
    this.log.push("flush");
  }

  async close(): Promise<void> {
    this.closed = true;
  }
}
