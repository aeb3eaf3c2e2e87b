import fc from "fast-check";
import { deflate, gzip } from "pako";
import { describe, expect, it } from "vitest";
import { concatBytes } from "../../core/bytes.ts";
import { isOtaError } from "../../core/errors.ts";
import type { ByteStream } from "../../core/ports.ts";
import { memoryReader } from "../../core/streams.ts";
import { encodeText } from "../../core/text.ts";
import { nodeDigests as digests } from "../../device/digests.ts";
import {
  applyForge,
  CoverList,
  createPlainMaker,
  makeForge,
  makeOtaforge,
  readForge,
  type ForgeApplyOptions,
  type ForgeMakeOptions,
} from "../index.ts";
import { FORGE_HEADER } from "./layout.ts";
import { frameSizeOf, parseForgeHeader } from "./read.ts";
import { encodeSmall } from "./small-data.ts";
import { VarintWriter } from "./varint.ts";

const maker = createPlainMaker();

const make = (old: Uint8Array, fresh: Uint8Array, options: { blockSize?: number } = {}) =>
  makeOtaforge(maker, memoryReader(old), memoryReader(fresh), { digests, effort: "fast", ...options });

/** A delta of given covers. */
const bytesOf = async (old: Uint8Array, fresh: Uint8Array, options: Omit<ForgeMakeOptions, "digests">) =>
  concatBytes(...(await makeForge(memoryReader(old), memoryReader(fresh), { digests, ...options })).parts);

async function gather(
  old: Uint8Array,
  patch: Uint8Array,
  options: Partial<ForgeApplyOptions> = {},
): Promise<Uint8Array> {
  const parts: Uint8Array[] = [];
  for await (const part of applyForge(memoryReader(old), memoryReader(patch), { digests, ...options }))
    parts.push(part);
  return concatBytes(...parts);
}

/** The result, or the error's code; an error after the first byte is marked `late`. */
async function outcome(old: Uint8Array, patch: Uint8Array): Promise<Uint8Array | string> {
  let given = 0;
  const parts: Uint8Array[] = [];
  try {
    for await (const part of applyForge(memoryReader(old), memoryReader(patch), { digests })) {
      given += part.length;
      parts.push(part);
    }
    return concatBytes(...parts);
  } catch (e) {
    if (!isOtaError(e)) throw e;
    return given > 0 ? `late ${e.code}` : e.code;
  }
}

/** A patch whose digests are right again after a change: what an attacker would send. */
function resealed(patch: Uint8Array): Uint8Array {
  const out = patch.slice();
  const sha256 = (bytes: Uint8Array): Uint8Array => {
    const digest = digests.create("sha256");
    digest.update(bytes);
    return digest.digest();
  };
  const { frameDigest, bodyDigest } = FORGE_HEADER.fields;
  let frameSize = out.length;
  try {
    frameSize = Math.min(out.length, frameSizeOf(parseForgeHeader(out)));
  } catch (e) {
    // A header nobody accepts needs no digest.
    if (!isOtaError(e)) throw e;
  }
  out.set(sha256(out.subarray(frameSize)), bodyDigest.offset);
  out.fill(0, frameDigest.offset, frameDigest.offset + 32);
  out.set(sha256(out.subarray(0, frameSize)), frameDigest.offset);
  return out;
}

/** Program-like bytes: words that point to other places, and text. */
function program(functions: number, seed: number): Uint8Array {
  const parts: Uint8Array[] = [];
  let state = seed;
  const random = () => (state = (Math.imul(state, 1103515245) + 12345) >>> 0) >>> 8;
  for (let i = 0; i < functions; i++) {
    const body = new Uint8Array(40 + (random() % 60));
    for (let k = 0; k < body.length; k++) body[k] = random() % 7 === 0 ? random() & 255 : (k * 37 + i) & 63;
    parts.push(body, encodeText(`function ${i} of the program\n`));
  }
  return concatBytes(...parts);
}

function edited(bytes: Uint8Array, at: number, insert: Uint8Array, remove: number): Uint8Array {
  return concatBytes(bytes.subarray(0, at), insert, bytes.subarray(at + remove));
}

describe("round trips", () => {
  const piece = fc.uint8Array({ maxLength: 400 });
  const file = fc
    .tuple(piece, piece, fc.integer({ min: 0, max: 30 }))
    .map(([a, b, n]) => concatBytes(...Array.from({ length: n }, () => a), b));

  it("gives new back for any pair", async () => {
    await fc.assert(
      fc.asyncProperty(file, file, fc.constantFrom(256, 1000, 8 << 20), async (old, fresh, blockSize) => {
        const patch = await make(old, fresh, { blockSize });
        expect(await gather(old, patch)).toEqual(fresh);
      }),
      { numRuns: 40 },
    );
  });

  it("gives new back for edits of a program, in blocks of any size", async () => {
    const old = program(300, 7);
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.tuple(fc.nat(old.length - 1), fc.uint8Array({ maxLength: 90 }), fc.nat(90)), { maxLength: 6 }),
        fc.constantFrom(2500, 1 << 20),
        async (edits, blockSize) => {
          let fresh = old;
          for (const [at, insert, remove] of edits) fresh = edited(fresh, Math.min(at, fresh.length), insert, remove);
          const patch = await make(old, fresh, { blockSize });
          expect(await gather(old, patch)).toEqual(fresh);
        },
      ),
      { numRuns: 15 },
    );
  });

  for (const [name, old, fresh] of [
    ["both empty", new Uint8Array(0), new Uint8Array(0)],
    ["empty old", new Uint8Array(0), encodeText("hello")],
    ["empty new", encodeText("hello"), new Uint8Array(0)],
    ["one byte", Uint8Array.of(1), Uint8Array.of(2)],
    ["the same", program(50, 1), program(50, 1)],
    ["zeros", new Uint8Array(70_000), new Uint8Array(300_000)],
  ] as const) {
    it(`works for ${name}`, async () => {
      const patch = await make(old, fresh);
      expect(await gather(old, patch)).toEqual(fresh);
      expect(patch.length).toBeLessThan(320);
    });
  }

  it("ignores covers that reach outside old, as bsdiff's may", async () => {
    const old = program(20, 3);
    const fresh = concatBytes(new Uint8Array(10), old, new Uint8Array(20));
    const covers = new CoverList();
    covers.add(0, -10, fresh.length);
    const patch = await bytesOf(old, fresh, { covers: () => covers });
    expect(await gather(old, patch)).toEqual(fresh);
  });

  it("gives the rest when earlier blocks are there already", async () => {
    const old = program(200, 5);
    const fresh = edited(old, 3000, encodeText("new text"), 17);
    const patch = await make(old, fresh, { blockSize: 4096 });
    const { blocks } = await readForge(memoryReader(patch), digests);
    expect(blocks.length).toBeGreaterThan(3);
    for (const [i, block] of blocks.entries()) {
      expect(await gather(old, patch, { fromBlock: i })).toEqual(fresh.subarray(block.fileAt));
    }
  });
});

describe("arriving patches", () => {
  const old = program(200, 5);
  const fresh = edited(edited(old, 3000, encodeText("new text"), 17), 9000, gzip(program(40, 1)), 5);
  const base = concatBytes(old, gzip(program(38, 1)));

  async function* inPieces(bytes: Uint8Array, size: number): ByteStream {
    for (let at = 0; at < bytes.length; at += size) yield bytes.slice(at, at + size);
  }

  /** What comes out of an arriving patch until it ends or fails. */
  async function arrive(stream: ByteStream, fromBlock = 0): Promise<{ bytes: Uint8Array; code?: string }> {
    const parts: Uint8Array[] = [];
    try {
      for await (const part of applyForge(memoryReader(base), stream, { digests, fromBlock })) parts.push(part);
    } catch (e) {
      if (!isOtaError(e)) throw e;
      return { bytes: concatBytes(...parts), code: e.code };
    }
    return { bytes: concatBytes(...parts) };
  }

  it("are applied as they come, in chunks of any size", async () => {
    const patch = await make(base, fresh, { blockSize: 4096 });
    for (const size of [1, 7, 1000, patch.length]) {
      expect(await arrive(inPieces(patch, size))).toEqual({ bytes: fresh });
    }
  });

  it("are continued at the block where the last try ended, wherever the stream was cut", async () => {
    const patch = await make(base, fresh, { blockSize: 4096 });
    const { blocks } = await readForge(memoryReader(patch), digests);
    for (let cut = 0; cut < patch.length; cut += 97) {
      const first = await arrive(inPieces(patch.subarray(0, cut), 300));
      expect(first.code).toBe("FORGE_DAMAGED");
      expect(fresh.subarray(0, first.bytes.length)).toEqual(first.bytes);
      const done = blocks.filter((b) => b.fileAt + b.fileSize <= first.bytes.length).length;
      expect((blocks[done] as (typeof blocks)[number]).fileAt).toBe(first.bytes.length);
      const rest = await arrive(inPieces(patch, 300), done);
      expect(concatBytes(first.bytes, rest.bytes)).toEqual(fresh);
    }
  });

  it("never give a wrong byte: a changed patch stops at a typed error behind right bytes", async () => {
    const patch = await make(base, fresh, { blockSize: 4096 });
    for (let at = 0; at < patch.length; at += 41) {
      const changed = patch.slice();
      changed[at] = (changed[at] as number) ^ 16;
      const { bytes, code } = await arrive(inPieces(changed, 500));
      expect(code).toMatch(/^FORGE_/);
      expect(fresh.subarray(0, bytes.length)).toEqual(bytes);
    }
    expect((await arrive(inPieces(concatBytes(patch, Uint8Array.of(0)), 500))).code).toBe("FORGE_DAMAGED");
  });
});

describe("opened containers", () => {
  const old = program(400, 11);
  const fresh = edited(edited(old, 9000, encodeText("inserted by an update"), 4), 100, new Uint8Array(0), 33);
  const wrap = (packed: Uint8Array) => concatBytes(encodeText("head"), packed, encodeText("tail, the same in both"));

  for (const [name, pack] of [
    ["gzip", (b: Uint8Array, level: number) => gzip(b, { level: level as 6 })],
    [
      "zlib blocks",
      (b: Uint8Array, level: number) =>
        concatBytes(
          ...[0, 8192, 16384, 24576].map((at) =>
            deflate(b.subarray(at, at === 24576 ? b.length : at + 8192), { level: level as 6 }),
          ),
        ),
    ],
  ] as const) {
    for (const level of [1, 6, 9]) {
      it(`patches the contents of ${name} at level ${level}`, async () => {
        const a = wrap(pack(old, level));
        const b = wrap(pack(fresh, level));
        const patch = await make(a, b);
        expect(await gather(a, patch)).toEqual(b);
        const { needs } = await readForge(memoryReader(patch), digests);
        expect(needs).toEqual([name === "gzip" ? 3 : 2]);
        const closed = await bytesOf(a, b, { repackers: [], covers: () => new CoverList() });
        expect(patch.length).toBeLessThan(closed.length / 3);
      });
    }
  }

  it("copies a packed part that did not change without packing it again", async () => {
    const a = concatBytes(gzip(old), gzip(program(30, 1)));
    const b = concatBytes(gzip(fresh), gzip(program(30, 1)));
    const patch = await make(a, b);
    const { newSegments } = await readForge(memoryReader(patch), digests);
    expect(newSegments.items.filter((s) => s.repacker !== 0)).toHaveLength(1);
    expect(await gather(a, patch)).toEqual(b);
  });

  it("falls back where packing again gives other bytes", async () => {
    const b = wrap(gzip(fresh));
    // A stored block in front is a stream no level of zlib writes.
    const foreign = concatBytes(
      Uint8Array.of(0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3, 0, 1, 0, 0xfe, 0xff, old[0] as number),
      gzip(old.subarray(1)).subarray(10),
    );
    for (const [from, to] of [
      [foreign, b],
      [b, foreign],
    ] as const) {
      const patch = await make(from, to);
      expect(await gather(from, patch)).toEqual(to);
    }
  });

  it("says which re-packer is missing", async () => {
    const a = wrap(gzip(old));
    const patch = await make(a, wrap(gzip(fresh)));
    await expect(gather(a, patch, { repackers: [] })).rejects.toMatchObject({ code: "FORGE_REPACKER" });
  });
});

describe("hostile patches", () => {
  const old = program(60, 9);
  const fresh = edited(old, 700, encodeText("inserted"), 3);

  it("refuses another base before the first byte", async () => {
    const patch = await make(old, fresh);
    const other = old.slice();
    other[other.length - 1] = 1 ^ (other.at(-1) as number);
    expect(await outcome(other, patch)).toBe("FORGE_BASE");
    expect(await outcome(old.subarray(1), patch)).toBe("FORGE_BASE");
  });

  it("refuses a patch cut short anywhere and every changed byte", async () => {
    const patch = await make(old, fresh);
    for (let at = 0; at < patch.length; at++) {
      expect(await outcome(old, patch.subarray(0, at))).toMatch(/^FORGE_|^LAYOUT_/);
      const changed = patch.slice();
      changed[at] = (changed[at] as number) ^ (1 << (at % 8));
      expect(await outcome(old, changed)).toMatch(/^FORGE_|^LAYOUT_/);
    }
  });

  it("gives a typed error before the first byte, or new, for changes whose digest was made right again", async () => {
    const a = concatBytes(old, gzip(program(40, 2)));
    const b = concatBytes(fresh, gzip(program(42, 2)));
    const patch = await make(a, b, { blockSize: 4000 });
    let state = 1;
    for (let run = 0; run < 220; run++) {
      state = (Math.imul(state, 1103515245) + 12345) >>> 0;
      // Every byte of the frame in turn, then bytes at random.
      const at = run < 140 ? 8 + ((run * 3) % (patch.length - 8)) : state % patch.length;
      const changed = patch.slice();
      changed[at] = (changed[at] as number) ^ (1 + ((state >>> 8) % 255));
      const result = await outcome(a, resealed(changed));
      if (typeof result === "string") expect(result).not.toMatch(/^late/);
      else expect(result).toEqual(b);
    }
  });

  it("refuses a patch for a file of another size or beyond the memory of the device", async () => {
    const patch = await make(old, fresh);
    await expect(gather(old, patch, { newSize: 5 })).rejects.toMatchObject({ code: "FORGE_DAMAGED" });
    await expect(gather(old, patch, { memoryLimit: 1000 })).rejects.toMatchObject({ code: "FORGE_DAMAGED" });
  });

  it("refuses sizes no device can hold, whoever sealed them", async () => {
    const limit = 64 * 1024 * 1024;
    for (const size of [2 ** 20, 2 ** 29, 2 ** 31, 2 ** 50]) {
      const patch = await make(old, fresh);
      const header = FORGE_HEADER.decode(patch);
      const table = new VarintWriter();
      // No re-packers; one plain segment each; one window of one block.
      for (const n of [0, 1, 0, old.length, 1, 0, size, 0, old.length, 0, 0, 1, size, size, 0]) table.number(n);
      table.bytes(new Uint8Array(16));
      const stored = encodeSmall(table.finish());
      const sizes = { newSize: size, newViewSize: size, tableSize: stored.length, tableRawSize: table.finish().length };
      const made = FORGE_HEADER.encode({ ...header, ...sizes, bodySize: 0, memoryBytes: 1 });
      const bases = patch.subarray(FORGE_HEADER.size, FORGE_HEADER.size + 16);
      const hostile = resealed(concatBytes(made, bases, stored));
      await expect(gather(old, hostile, { memoryLimit: limit })).rejects.toMatchObject({ code: "FORGE_DAMAGED" });
      if (size > 2 ** 30) expect(await outcome(old, hostile)).toBe("FORGE_DAMAGED");
    }
  });

  it("stops when the caller says so", async () => {
    const patch = await make(old, fresh);
    await expect(gather(old, patch, { signal: { aborted: true } })).rejects.toMatchObject({ code: "CANCELLED" });
    await expect(
      bytesOf(old, fresh, { covers: () => new CoverList(), signal: { aborted: true } }),
    ).rejects.toMatchObject({
      code: "CANCELLED",
    });
  });
});
