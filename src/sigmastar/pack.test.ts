import { describe, expect, it } from "vitest";
import { OtaError } from "../core/errors.ts";
import type { OpenFile, RandomReader } from "../core/ports.ts";
import { memoryReader } from "../core/streams.ts";
import { chunked, digests } from "../../test/support/sigmastar.ts";
import { writableFileSystem } from "./file-system-magic.ts";
import { GENERATIONS, OPT } from "./layout.ts";
import { parseMasks, parseNumber } from "./numbers.ts";
import { appendRecords, createPackage, memoryFile, packBytes, type RecordSpec } from "./pack.ts";
import { verifyPackage } from "./read.ts";
import { singleRecord, type RecordPorts } from "./records.ts";
import type { PackFiles } from "./pack-files.ts";

const payload = (size: number): Uint8Array => Uint8Array.from({ length: size }, (_, i) => (i * 7) % 251);
const block = (size = 10, more: Partial<RecordSpec> = {}): RecordSpec => ({
  opt: OPT.BLK_UPDATE,
  destination: "/dev/mtd0",
  payload: memoryReader(payload(size)),
  ...more,
});
const codeOf = async (work: Promise<unknown>): Promise<string> => {
  try {
    await work;
    return "fine";
  } catch (e) {
    if (e instanceof OtaError) return e.code;
    throw e;
  }
};
/** A reader that claims a size and gives zeros. */
const zeros = (size: number): RandomReader => ({ size, read: async (_at, length) => new Uint8Array(length) });

describe("packing", () => {
  it.each(GENERATIONS)("%s: what is packed verifies, with and without scripts", async (generation) => {
    const spec = { ...block(3_000_001), opt: OPT.FILE_ADD, mode: 0o100644, destinationSize: 3_000_001 };
    for (const scripts of [{}, { beginScript: payload(100), endScript: payload(3) }]) {
      const bytes = await packBytes(digests, { generation, ...scripts }, [block(), spec, block(0)]);
      const seen = await verifyPackage(chunked(bytes, 65_536), digests);
      expect([seen.generation, seen.header.recordCount, seen.header.totalSize]).toEqual([generation, 3, 3_000_011]);
      expect(seen.heads[1]).toMatchObject({ fileSize: 3_000_001, mode: 0o100644, destination: "/dev/mtd0" });
    }
  });

  it("v0.3 has the layout of the specification: 28 bytes of header, records of v0.2, script records", async () => {
    const bytes = await packBytes(digests, { generation: "v0.3" }, [block(5, { opt: OPT.SCRIPT_EXEC })]);
    expect(bytes.length).toBe(28 + 276 + 5);
    expect([...bytes.subarray(4, 12)]).toEqual([0, 0, 0, 0, 3, 0, 0, 0]);
    expect(await codeOf(packBytes(digests, { generation: "v0.2" }, [block(5, { opt: OPT.SCRIPT_EXEC })]))).toBe(
      "SIGMASTAR_OPERATION",
    );
  });

  it("is what it was when any write fails", async () => {
    const start = await packBytes(digests, { generation: "v1.6" }, [block(1000)]);
    for (let failing = 0; failing < 6; failing++) {
      const inner = memoryFile(start);
      let writes = 0;
      const file: OpenFile = {
        ...inner,
        get size() {
          return inner.size;
        },
        async write(offset, bytes) {
          if (writes++ === failing) {
            await inner.write(offset, bytes.subarray(0, 3));
            throw new OtaError("DEVICE_NO_SPACE", "full");
          }
          await inner.write(offset, bytes);
        },
      };
      const code = await codeOf(appendRecords(file, [block(2_500_000), block(7)], { digests }));
      if (code === "fine") {
        expect(writes).toBeLessThanOrEqual(failing);
        continue;
      }
      expect(code).toBe("DEVICE_NO_SPACE");
      expect(Buffer.compare(inner.bytes(), start)).toBe(0);
    }
  });

  it("is what it was when the caller gives up, at any chunk", async () => {
    const start = createPackage(digests, { generation: "v0.4", beginScript: payload(9) });
    for (const stopAt of [0, 1, 2, 3]) {
      const cancel = { aborted: stopAt === 0 };
      let seen = 0;
      const progress = {
        progress() {
          if (++seen === stopAt) cancel.aborted = true;
        },
        note() {},
      };
      const file = memoryFile(start);
      expect(await codeOf(appendRecords(file, [block(3_500_000)], { digests, cancel, progress }))).toBe("CANCELLED");
      expect(Buffer.compare(file.bytes(), start)).toBe(0);
    }
  });

  it("refuses a source that becomes shorter", async () => {
    const start = createPackage(digests, { generation: "v1.6" });
    const file = memoryFile(start);
    const shrinking: RandomReader = {
      size: 3_000_000,
      async read(at, length) {
        if (at > 0) throw new OtaError("SIGMASTAR_SOURCE_CHANGED", "shorter");
        return new Uint8Array(length);
      },
    };
    expect(await codeOf(appendRecords(file, [block(1, { payload: shrinking })], { digests }))).toBe(
      "SIGMASTAR_SOURCE_CHANGED",
    );
    expect(Buffer.compare(file.bytes(), start)).toBe(0);
  });

  it("refuses sizes that do not fit 32-bit fields, before a byte is written", async () => {
    for (const generation of ["v0.2", "v0.3"] as const) {
      const file = memoryFile(createPackage(digests, { generation }));
      const before = file.bytes();
      const append = (spec: RecordSpec): Promise<string> => codeOf(appendRecords(file, [spec], { digests }));
      expect(await append(block(1, { payload: zeros(2 ** 32) }))).toBe("SIGMASTAR_SIZE_LIMIT");
      expect(await append(block(1, { destinationSize: 2 ** 32 }))).toBe("SIGMASTAR_SIZE_LIMIT");
      expect(Buffer.compare(file.bytes(), before)).toBe(0);
    }
  });

  it("keeps texts within their fields", async () => {
    const pack = (generation: "v0.4" | "v1.6", more: Partial<RecordSpec>): Promise<string> =>
      codeOf(packBytes(digests, { generation }, [block(1, more)]));
    expect(await pack("v0.4", { destination: "x".repeat(255) })).toBe("fine");
    expect(await pack("v0.4", { destination: "x".repeat(256) })).toBe("SIGMASTAR_TEXT_TOO_LONG");
    expect(await pack("v0.4", { destination: "é".repeat(128) })).toBe("SIGMASTAR_TEXT_TOO_LONG");
    expect(await pack("v1.6", { destination: "x".repeat(511), log: "y".repeat(511) })).toBe("fine");
    expect(await pack("v1.6", { destination: "x".repeat(512) })).toBe("SIGMASTAR_TEXT_TOO_LONG");
    expect(await pack("v1.6", { log: "y".repeat(512) })).toBe("SIGMASTAR_TEXT_TOO_LONG");
    expect(await pack("v1.6", { destination: "a\0b" })).toBe("SIGMASTAR_TEXT_TOO_LONG");
    expect(await pack("v1.6", { destination: Array.from({ length: 16 }, (_, i) => `/d${i}`).join(" ") })).toBe("fine");
    expect(await pack("v1.6", { destination: Array.from({ length: 17 }, (_, i) => `/d${i}`).join(" ") })).toBe(
      "SIGMASTAR_TEXT_TOO_LONG",
    );
    expect(await pack("v1.6", { destination: "   " })).toBe("SIGMASTAR_DESTINATION_MISSING");
    expect(() => createPackage(digests, { generation: "v1.6", buildId: "x".repeat(65) })).toThrow(OtaError);
  });

  it("lets an image larger than its partition through only in the vendor profile", async () => {
    const specs = [block(11, { destinationSize: 10 })];
    expect(await codeOf(packBytes(digests, { generation: "v1.6" }, specs))).toBe("SIGMASTAR_SOURCE_TOO_LARGE");
    expect(await codeOf(packBytes(digests, { generation: "v1.6", profile: "vendor" }, specs))).toBe("fine");
    const file = [block(11, { destinationSize: 10, opt: OPT.FILE_UPDATE })];
    expect(await codeOf(packBytes(digests, { generation: "v1.6" }, file))).toBe("fine");
  });
});

describe("numbers", () => {
  it("are decimal or 0x hex, and a leading zero is decimal", () => {
    expect(["", "0", "420", "0644", "0x1a4", "0X1A4"].map((t) => parseNumber(t, "-m", 0xffffffff))).toEqual([
      0, 0, 420, 644, 420, 420,
    ]);
    for (const bad of ["500K", " 500", "-5", "rw", "0x", "1.5", "4294967296", "0x100000000", "9".repeat(400)]) {
      expect(() => parseNumber(bad, "-t", 0xffffffff)).toThrow(OtaError);
    }
    expect(parseNumber("0x100000000", "-t", Number.MAX_SAFE_INTEGER)).toBe(2 ** 32);
  });
  it("of masks are split at spaces only", () => {
    expect(parseMasks("  1  0 0xffffffff ")).toEqual([1, 0, 0xffffffff]);
    expect(() => parseMasks("1\t0")).toThrow(OtaError);
    expect(() => parseMasks("-m")).toThrow(OtaError);
  });
});

describe("diff bases", () => {
  const files = (content: Record<string, Uint8Array>): PackFiles => ({
    info: async () => undefined,
    list: async () => [],
    async open(path) {
      const bytes = content[path] ?? new Uint8Array(0);
      return { ...memoryReader(bytes), mode: 0o100644, async close() {} };
    },
  });
  const image = (size: number, at: number, magic: readonly number[]): Uint8Array => {
    const bytes = new Uint8Array(size);
    bytes.set(magic, at);
    return bytes;
  };
  const bases: [string, Uint8Array][] = [
    ["ext2/3/4", image(4096, 1080, [0x53, 0xef])],
    ["ubifs", image(4096, 0, [0x31, 0x18, 0x10, 0x06])],
    ["jffs2", image(4096, 0, [0x85, 0x19, 0x03, 0x20])],
    ["jffs2", image(12, 0, [0x19, 0x85, 0x20, 0x03])],
    ["ubi", image(4096, 0, [0x55, 0x42, 0x49, 0x23])],
    ["f2fs", image(4096, 1024, [0x10, 0x20, 0xf5, 0xf2])],
  ];

  it.each(bases)("that are %s are refused, and allowed in the vendor profile", async (name, old) => {
    expect(await writableFileSystem(memoryReader(old))).toBe(name);
    const ports: RecordPorts = {
      files: files({ old, new: payload(50) }),
      patches: { bsdiff40: async () => new TextEncoder().encode("BSDIFF40") },
    };
    const collect = async (more: Partial<RecordPorts>): Promise<number[]> => {
      const out: number[] = [];
      const options = {
        operation: "file-update-diff",
        diffOld: "old",
        diffNew: "new",
        destination: "/dev/mtd4",
      } as const;
      for await (const spec of singleRecord({ ...ports, ...more }, options)) out.push(spec.opt);
      return out;
    };
    expect(await codeOf(collect({}))).toBe("SIGMASTAR_DIFF_BASE");
    expect(await collect({ profile: "vendor" })).toEqual([OPT.FILE_DIFF]);
  });

  it("that are squashfs, code or text are fine", async () => {
    for (const fine of [
      image(8192, 0, [0x68, 0x73, 0x71, 0x73]),
      payload(5000),
      new Uint8Array(3),
      new Uint8Array(0),
    ]) {
      expect(await writableFileSystem(memoryReader(fine))).toBeUndefined();
    }
  });

  it("that are empty give a whole record of the kind the destination needs", async () => {
    const ports: RecordPorts = { files: files({ old: payload(9) }) };
    for (const [destination, opt] of [
      ["/config/app", OPT.FILE_UPDATE],
      ["/dev/mtd4", OPT.BLK_UPDATE],
      ["/dev/ubi0_3", OPT.UBI_UPDATE],
    ] as const) {
      const options = { operation: "file-update-diff", diffOld: "old", diffNew: "new", destination } as const;
      for await (const spec of singleRecord(ports, options)) expect([spec.opt, spec.sourceName]).toEqual([opt, "new"]);
    }
  });
});
