/**
 * Re-packers: how packed parts of a file are unpacked and packed again, bit by bit the same. A patch names those its device
 * needs; parameters were proven when the patch was made.
 */
import { concatBytes, equalBytes, writeU32, writeU32be } from "../../core/bytes.ts";
import { crc32 } from "../../core/checksums.ts";
import { OtaError } from "../../core/errors.ts";
import { createDeflater, deflateReproduces, zlibDefaults } from "../deflate/deflate.ts";
import { inflateRawPrefix } from "../deflate/inflate.ts";
import { PACKED_WITH } from "./packed-with.ts";

export interface Repacker {
  /** What `--repack` and messages call it. */
  readonly name: string;
  /** What patches call it. */
  readonly id: number;
  /** Part of the toolkit; others need a program or more of the device. */
  readonly inside: boolean;
  /**
   * The content of `packed`, which fills it and expands to exactly `size` bytes.
   * @throws OtaError CODEC_DAMAGED, CODEC_BOMB
   */
  unpack(packed: Uint8Array, size: number): Uint8Array | Promise<Uint8Array>;
  /** Packs with proven parameters. @throws OtaError CODEC_DAMAGED for parameters that are none */
  pack(data: Uint8Array, parameters: readonly number[]): Uint8Array | Promise<Uint8Array>;
  /** Parameters with which packing `data` gives `packed` again; undefined when none are known. `hint` is tried first. */
  prove(
    data: Uint8Array,
    packed: Uint8Array,
    hint?: readonly number[],
  ): (readonly number[] | undefined) | Promise<readonly number[] | undefined>;
}

function damaged(what: string): OtaError {
  return new OtaError("CODEC_DAMAGED", what);
}

/** Bytes in front of and behind the raw deflate stream, both following from its content. */
interface Wrapping {
  readonly name: string;
  readonly id: number;
  readonly head: number;
  readonly tail: number;
  /** Two-byte head of zlib; empty otherwise. */
  headOf(level: number): Uint8Array;
  tailOf(data: Uint8Array): Uint8Array;
}

export function adler32(data: Uint8Array): number {
  let a = 1;
  let b = 0;
  // 3800 bytes add less than 2^32 to either sum.
  for (let at = 0; at < data.length; at += 3800) {
    const end = Math.min(data.length, at + 3800);
    for (let i = at; i < end; i++) {
      a += data[i] as number;
      b += a;
    }
    a %= 65521;
    b %= 65521;
  }
  return b * 65536 + a;
}

const NOTHING = new Uint8Array(0);

const RAW: Wrapping = { name: "deflate", id: 1, head: 0, tail: 0, headOf: () => NOTHING, tailOf: () => NOTHING };

const ZLIB: Wrapping = {
  name: "zlib",
  id: 2,
  head: 2,
  tail: 4,
  headOf(level) {
    // Window of 32 KiB; zlib notes the level in two bits and makes the head a multiple of 31.
    const flags = level < 2 ? 0x01 : level < 6 ? 0x5e : level === 6 ? 0x9c : 0xda;
    return Uint8Array.of(0x78, flags);
  },
  tailOf(data) {
    const tail = new Uint8Array(4);
    writeU32be(tail, 0, adler32(data));
    return tail;
  },
};

/** Deflate and trailer of a gzip member; its header stays plain. */
const GZIP: Wrapping = {
  name: "gzip",
  id: 3,
  head: 0,
  tail: 8,
  headOf: () => NOTHING,
  tailOf(data) {
    const tail = new Uint8Array(8);
    writeU32(tail, 0, crc32(data));
    writeU32(tail, 4, data.length % 0x100000000);
    return tail;
  },
};

/** Levels in the order in which they are tried: what gzip, zip, mksquashfs and image builders use first. */
const LEVELS = [9, 6, 1, 2, 3, 4, 5, 7, 8];
/** zlib's memory levels in use: 8 by default, 9 in builders that want the best. */
const MEMORY_LEVELS = [8, 9];

function deflating(wrapping: Wrapping): Repacker {
  const all = LEVELS.flatMap((level) => MEMORY_LEVELS.map((memLevel) => [level, memLevel] as const));
  return {
    name: wrapping.name,
    id: wrapping.id,
    inside: true,
    unpack(packed, size) {
      const found = inflateRawPrefix(packed.subarray(wrapping.head), size);
      if (found?.data.length !== size || wrapping.head + found.used + wrapping.tail !== packed.length) {
        throw damaged(`no ${wrapping.name} stream of ${size} bytes`);
      }
      return found.data;
    },
    pack(data, [level = -1, memLevel = -1]) {
      if (!(level >= 1 && level <= 9 && memLevel >= 1 && memLevel <= 9)) throw damaged("deflate level out of range");
      const deflater = createDeflater({ ...zlibDefaults(level), memLevel });
      const parts = [...deflater.push(data), ...deflater.finish()];
      return concatBytes(wrapping.headOf(level), ...parts, wrapping.tailOf(data));
    },
    prove(data, packed, hint) {
      if (!equalBytes(wrapping.tailOf(data), packed.subarray(packed.length - wrapping.tail))) return undefined;
      const stream = packed.subarray(wrapping.head, packed.length - wrapping.tail);
      const first = all.filter(([level, memLevel]) => level === hint?.[0] && memLevel === hint[1]);
      for (const [level, memLevel] of [...first, ...all]) {
        if (!equalBytes(wrapping.headOf(level), packed.subarray(0, wrapping.head))) continue;
        if (!deflateReproduces(data, stream, { ...zlibDefaults(level), memLevel })) continue;
        return [level, memLevel];
      }
      return undefined;
    },
  };
}

/** Re-packers that are part of the toolkit: zlib's bytes, by pako. */
export function insideRepackers(): Repacker[] {
  return [deflating(RAW), deflating(ZLIB), deflating(GZIP)];
}

/** Re-packers by id. @throws OtaError FORGE_REPACKER for ids that are not there */
export class RepackerSet {
  readonly #byId = new Map<number, Repacker>();

  constructor(repackers: readonly Repacker[]) {
    for (const r of repackers) this.#byId.set(r.id, r);
  }

  get all(): readonly Repacker[] {
    return [...this.#byId.values()];
  }

  named(name: string): Repacker | undefined {
    return this.all.find((r) => r.name === name);
  }

  get(id: number): Repacker {
    const found = this.#byId.get(id);
    if (found === undefined) {
      throw new OtaError("FORGE_REPACKER", {
        what: "the patch needs a re-packer that is not there",
        found: PACKED_WITH[id] ?? `number ${id}`,
        hint: "Make the patch with --repack limited to what its devices have.",
      });
    }
    return found;
  }
}
