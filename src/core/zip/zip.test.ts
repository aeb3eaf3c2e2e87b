import { deflateRawSync, inflateRawSync } from "node:zlib";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import yauzl from "yauzl";
import {
  concatBytes,
  isOtaError,
  memoryReader,
  OtaError,
  writeU16,
  writeU32,
  type ByteStream,
  type Codecs,
} from "../index.ts";
import { createZipWriter, memorySink, openZip, setZipComment, type ZipEntryInput } from "./index.ts";

async function gather(stream: ByteStream): Promise<Uint8Array> {
  const parts: Uint8Array[] = [];
  for await (const p of stream) parts.push(p);
  return concatBytes(...parts);
}

const codecs: Pick<Codecs, "inflateRaw" | "deflateRaw"> = {
  async *inflateRaw(input, maxBytes) {
    const bytes = await gather(input);
    let out: Uint8Array;
    try {
      const { buffer, engine } = inflateRawSync(bytes, {
        maxOutputLength: Math.max(1, maxBytes + 1),
        info: true,
      }) as unknown as {
        buffer: Uint8Array;
        engine: { bytesWritten: number };
      };
      if (engine.bytesWritten !== bytes.length) throw new OtaError("CODEC_DAMAGED", "garbage");
      out = buffer;
    } catch (e) {
      throw isOtaError(e) ? e : new OtaError("CODEC_DAMAGED", "damaged", e);
    }
    if (out.length > maxBytes) throw new OtaError("CODEC_BOMB", "too long");
    if (out.length > 0) yield new Uint8Array(out);
  },
  async *deflateRaw(input, level = 9) {
    yield deflateRawSync(await gather(input), { level });
  },
};

const utf8 = (s: string): Uint8Array => new TextEncoder().encode(s);
type Item = ZipEntryInput & { content: Uint8Array };

async function build(items: readonly Item[], comment?: Uint8Array): Promise<Uint8Array> {
  const sink = memorySink();
  const zip = createZipWriter(sink, { codecs });
  for (const item of items) await zip.add(item, item.content);
  await zip.finish(comment);
  return sink.bytes();
}

const open = (bytes: Uint8Array): ReturnType<typeof openZip> => openZip(memoryReader(bytes), { codecs });

async function codeOf(bytes: Uint8Array, read = true): Promise<string> {
  try {
    const zip = await open(bytes);
    if (read) for (const e of zip.entries) await zip.read(e);
    return "accepted";
  } catch (e) {
    if (!isOtaError(e)) throw e;
    return e.code;
  }
}

const SAMPLE: Item[] = [
  { name: "a.txt", content: utf8("hello hello hello hello") },
  { name: "dir/", method: 0, content: new Uint8Array(0) },
  { name: "dir/b.bin", method: 0, content: new Uint8Array([1, 2, 3]), externalAttributes: (0o100755 << 16) >>> 0 },
  { name: "empty", content: new Uint8Array(0) },
];

/** Offset of the n-th occurrence of a record. */
function find(bytes: Uint8Array, signature: string, n = 0): number {
  let at = -1;
  for (let i = 0; i <= n; i++)
    at = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).indexOf(signature, at + 1, "latin1");
  return at;
}

function edit(bytes: Uint8Array, change: (b: Uint8Array) => void): Uint8Array {
  const copy = bytes.slice();
  change(copy);
  return copy;
}

describe("zip", () => {
  it("reads back what it wrote, in order, with modes and dates", async () => {
    const zip = await open(await build(SAMPLE, utf8("a comment")));
    expect(zip.entries.map((e) => e.name)).toEqual(SAMPLE.map((s) => s.name));
    for (const item of SAMPLE) expect(await zip.read(zip.need(item.name))).toEqual(item.content);
    expect(zip.need("dir/b.bin").externalAttributes >>> 16).toBe(0o100755);
    expect(zip.need("a.txt").date).toBe(((2009 - 1980) << 9) | (1 << 5) | 1);
    expect(new TextDecoder().decode(zip.comment)).toBe("a comment");
    expect(await open(await build([]))).toMatchObject({ entries: [] });
  });

  it("agrees with yauzl on any archive it writes", async () => {
    const name = fc.stringMatching(/^[a-z0-9é]{1,8}$/);
    const item = fc.record({
      name,
      method: fc.constantFrom(0 as const, 8 as const),
      content: fc.uint8Array({ maxLength: 300 }),
      align: fc.constantFrom(1, 4, 64),
    });
    await fc.assert(
      fc.asyncProperty(fc.uniqueArray(item, { selector: (i) => i.name, maxLength: 8 }), async (items) => {
        const bytes = await build(items);
        const ours = await open(bytes);
        const theirs = await new Promise<{ name: string; size: number }[]>((resolve, reject) => {
          yauzl.fromBuffer(Buffer.from(bytes), { lazyEntries: false }, (error, zip) => {
            if (error !== null) return reject(error);
            const list: { name: string; size: number }[] = [];
            zip.on("entry", (e: yauzl.Entry) => list.push({ name: e.fileName, size: e.uncompressedSize }));
            zip.on("end", () => resolve(list));
            zip.on("error", reject);
          });
        });
        expect(theirs).toEqual(ours.entries.map((e) => ({ name: e.name, size: e.size })));
        for (const [i, e] of ours.entries.entries()) {
          expect(e.dataOffset % (items[i]?.align ?? 1)).toBe(0);
          expect(await ours.read(e)).toEqual(items[i]?.content);
        }
      }),
      { numRuns: 60 },
    );
  });

  it("refuses every archive cut short", async () => {
    const bytes = await build(SAMPLE, utf8("comment"));
    for (let n = 0; n < bytes.length; n++) expect(await codeOf(bytes.subarray(0, n))).not.toBe("accepted");
  });

  it("gives the same content or an error for any changed byte", async () => {
    const bytes = await build(SAMPLE);
    for (let at = 0; at < bytes.length; at++) {
      for (const bit of [1, 0x80]) {
        const changed = edit(bytes, (b) => void (b[at] = (b[at] as number) ^ bit));
        let zip;
        try {
          zip = await open(changed);
          for (const [i, e] of zip.entries.entries()) expect(await zip.read(e)).toEqual(SAMPLE[i]?.content);
        } catch (e) {
          if (!isOtaError(e)) throw e;
        }
      }
    }
  });

  it("refuses bytes before, behind and inside", async () => {
    const bytes = await build(SAMPLE);
    expect(await codeOf(concatBytes(bytes, new Uint8Array(1)))).toBe("ZIP_NOT_FOUND");
    expect(await codeOf(concatBytes(new Uint8Array(1), bytes))).toBe("ZIP_DAMAGED");
    // Offsets moved along: the archive is whole, but hides a prefix.
    const prefix = concatBytes(new Uint8Array(8), bytes);
    const end = find(prefix, "PK\x05\x06");
    writeU32(prefix, end + 16, prefix.length - 22 - (end - find(prefix, "PK\x01\x02")));
    for (let i = 0; i < SAMPLE.length; i++) {
      const c = find(prefix, "PK\x01\x02", i);
      prefix[c + 42] = (prefix[c + 42] as number) + 8;
    }
    expect(await codeOf(prefix)).toBe("ZIP_OVERLAP");
  });

  it("refuses a second end record inside the comment", async () => {
    const inner = await build([{ name: "evil", content: utf8("x") }]);
    const bytes = await build(SAMPLE);
    const end = bytes.length - 22;
    const both = concatBytes(bytes, inner);
    writeU16(both, end + 20, inner.length);
    expect(await codeOf(both)).toBe("ZIP_DAMAGED");
    await expect(setZipComment(memorySink(), 0, inner)).rejects.toMatchObject({ code: "ZIP_DAMAGED" });
  });

  it("refuses names that leave the folder and says which", async () => {
    const bytes = await build([{ name: "ab/cd/ef", method: 0, content: utf8("x") }]);
    const renamed = (name: string): Uint8Array =>
      edit(bytes, (b) => {
        b.set(utf8(name), 30);
        b.set(utf8(name), find(b, "PK\x01\x02") + 46);
      });
    for (const name of [
      "../cd/ef",
      "/b/cd/ef",
      "ab/../ef",
      "ab\\cd/ef",
      "C:/cd/ef",
      "ab//d/ef",
      "ab/./ef1",
      "ab\0cd/ef",
      "ab\ncd/ef",
      "ab/cd/..",
    ]) {
      expect(await codeOf(renamed(name)), name).toBe("ZIP_NAME");
    }
    await expect(open(renamed("../cd/ef"))).rejects.toThrow("entry ../cd/ef");
    await expect(build([{ name: "a/../../b", content: utf8("") }])).rejects.toMatchObject({ code: "ZIP_NAME" });
  });

  it("refuses duplicates, and a file that is another's folder", async () => {
    const bytes = await build([
      { name: "aa", method: 0, content: utf8("1") },
      { name: "ab", method: 0, content: utf8("2") },
    ]);
    const twice = edit(bytes, (b) => {
      for (const at of [find(b, "PK\x03\x04", 1) + 30, find(b, "PK\x01\x02", 1) + 46]) b[at + 1] = 0x61;
    });
    await expect(open(twice)).rejects.toMatchObject({ code: "ZIP_DUPLICATE", message: "duplicate entry (entry aa)" });
    expect(
      await codeOf(
        await build([
          { name: "s", content: utf8("/etc") },
          { name: "s/passwd", content: utf8("x") },
        ]),
      ),
    ).toBe("ZIP_DUPLICATE");
    await expect(
      build([
        { name: "a", content: utf8("") },
        { name: "a", content: utf8("") },
      ]),
    ).rejects.toMatchObject({ code: "ZIP_DUPLICATE" });
  });

  it("refuses a local header that differs from the directory", async () => {
    const bytes = await build(SAMPLE);
    const change = (offset: number, value: number): Uint8Array => edit(bytes, (b) => void (b[offset] = value));
    for (const [offset, value] of [
      [30, 0x62],
      [8, 0],
      [6, 8],
      [14, 0x77],
      [18, 1],
      [22, 1],
    ] as const) {
      expect(await codeOf(change(offset, value), false), String(offset)).toBe("ZIP_MISMATCH");
    }
  });

  it("refuses entries that overlap", async () => {
    const bytes = await build([
      { name: "a", method: 0, content: utf8("xyz") },
      { name: "b", method: 0, content: utf8("xyz") },
    ]);
    // Both directory entries point at one local header, renamed in the directory only.
    const shared = edit(bytes, (b) => writeU32(b, find(b, "PK\x01\x02", 1) + 42, 0));
    expect(await codeOf(shared)).toBe("ZIP_MISMATCH");
    const outer = await build([
      { name: "a", method: 0, content: concatBytes(await build([{ name: "b", method: 0, content: utf8("q") }])) },
      { name: "b", method: 0, content: utf8("q") },
    ]);
    const inner = edit(outer, (b) => writeU32(b, find(b, "PK\x01\x02", 2) + 42, 31));
    expect(await codeOf(inner)).toBe("ZIP_OVERLAP");
  });

  it("refuses wrong checksums, lying sizes and bombs with the entry's name", async () => {
    const bytes = await build(SAMPLE);
    const badCrc = edit(bytes, (b) => {
      b[14] = (b[14] as number) ^ 1;
      const c = find(b, "PK\x01\x02");
      b[c + 16] = (b[c + 16] as number) ^ 1;
    });
    const zip = await open(badCrc);
    await expect(zip.read(zip.need("a.txt"))).rejects.toMatchObject({ code: "ZIP_CRC" });
    await expect(zip.read(zip.need("a.txt"))).rejects.toThrow("entry a.txt");
    const sized = (size: number): Uint8Array =>
      edit(bytes, (b) => {
        writeU32(b, 22, size);
        writeU32(b, find(b, "PK\x01\x02") + 24, size);
      });
    expect(await codeOf(sized(22))).toBe("ZIP_ENTRY");
    expect(await codeOf(sized(24))).toBe("ZIP_ENTRY");
    expect(await codeOf(sized(0xfffffff0), false)).toBe("ZIP_ENTRY");
    const bomb = await build([{ name: "zeros", content: new Uint8Array(1 << 20) }]);
    await expect(openZip(memoryReader(bomb), { codecs, limits: { maxTotalBytes: 1000 } })).rejects.toMatchObject({
      code: "ZIP_LIMIT",
    });
    const big = await open(bomb);
    await expect(big.read(big.need("zeros"), 1000)).rejects.toMatchObject({ code: "ZIP_LIMIT" });
  });

  it("reads data descriptors and refuses those that lie", async () => {
    const data = deflateRawSync(utf8("descriptor"));
    const name = utf8("d");
    const make = (crcXor: number): Uint8Array => {
      const local = new Uint8Array(30);
      writeU32(local, 0, 0x04034b50);
      writeU16(local, 6, 8);
      writeU16(local, 8, 8);
      writeU16(local, 26, 1);
      const descriptor = new Uint8Array(16);
      writeU32(descriptor, 0, 0x08074b50);
      writeU32(descriptor, 4, 0x6c1b5f5a);
      writeU32(descriptor, 8, data.length);
      writeU32(descriptor, 12, 10);
      const central = new Uint8Array(46);
      writeU32(central, 0, 0x02014b50);
      writeU16(central, 8, 8);
      writeU16(central, 10, 8);
      writeU32(central, 16, 0x6c1b5f5a ^ crcXor);
      writeU32(central, 20, data.length);
      writeU32(central, 24, 10);
      writeU16(central, 28, 1);
      const end = new Uint8Array(22);
      writeU32(end, 0, 0x06054b50);
      writeU16(end, 8, 1);
      writeU16(end, 10, 1);
      writeU32(end, 12, 47);
      writeU32(end, 16, 31 + data.length + 16);
      return concatBytes(local, name, data, descriptor, central, name, end);
    };
    const zip = await open(make(0));
    expect(zip.entries[0]?.size).toBe(10);
    expect(await codeOf(make(1), false)).toBe("ZIP_MISMATCH");
  });

  it("reads and writes zip64 sizes and counts", async () => {
    const many: Item[] = Array.from({ length: 66000 }, (_, i) => ({
      name: `f${i}`,
      method: 0,
      content: new Uint8Array(0),
    }));
    const zip = await open(await build(many));
    expect(zip.entries.length).toBe(66000);
    // A sparse 5 GiB archive: only what is written is kept.
    const size = 5 * 2 ** 30;
    const kept: { offset: number; bytes: Uint8Array }[] = [];
    let end = 0;
    const sink = {
      async write(offset: number, bytes: Uint8Array) {
        end = Math.max(end, offset + bytes.length);
        if (bytes.length < 2 ** 20) kept.push({ offset, bytes });
      },
    };
    const writer = createZipWriter(sink, { codecs, crc32: () => 7 });
    const megabytes = new Uint8Array(2 ** 28);
    async function* zeros(): ByteStream {
      for (let i = 0; i < size; i += megabytes.length) yield megabytes;
    }
    await writer.add({ name: "big", method: 0 }, { size, data: zeros() });
    await writer.add({ name: "small", method: 0 }, utf8("tail"));
    await writer.finish();
    const big = await openZip(
      {
        size: end,
        async read(offset, length) {
          const out = new Uint8Array(length);
          for (const k of kept) {
            for (let i = 0; i < k.bytes.length; i++) {
              const at = k.offset + i - offset;
              if (at >= 0 && at < length) out[at] = k.bytes[i] as number;
            }
          }
          return out;
        },
      },
      { codecs, crc32: () => 7 },
    );
    expect(big.need("big").size).toBe(size);
    expect(big.need("small").offset).toBeGreaterThan(size);
    expect(await big.read(big.need("small"))).toEqual(utf8("tail"));
  });

  it("checks the size it was told of a stream", async () => {
    const writer = createZipWriter(memorySink(), { codecs });
    async function* data(): ByteStream {
      yield utf8("four");
    }
    await expect(writer.add({ name: "x" }, { size: 3, data: data() })).rejects.toMatchObject({ code: "ZIP_ENTRY" });
  });
});
