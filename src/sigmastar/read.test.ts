import { describe, expect, it } from "vitest";
import { concatBytes, equalBytes, writeU32 } from "../core/bytes.ts";
import { OtaError } from "../core/errors.ts";
import { memoryReader } from "../core/streams.ts";
import { chunked, digests, vectorPackages } from "../../test/support/sigmastar.ts";
import { FORMATS } from "./layout.ts";
import { detectGeneration, mapPackage, readPackage, verifyPackage } from "./read.ts";
import { sealHeader, startRecordCheck } from "./integrity.ts";

const packages = vectorPackages();
const codeOf = async (work: Promise<unknown>): Promise<string> => {
  try {
    await work;
    return "fine";
  } catch (e) {
    if (e instanceof OtaError) return e.code;
    throw e;
  }
};

describe("reading SigmaStar packages", () => {
  it.each(packages)("verifies and maps %s in chunks of any size", async (name, bytes) => {
    const generation = /v[01]\.\d/.exec(name)?.[0];
    for (const size of [1 << 20, 7, 1]) {
      if (bytes.length > 20_000 && size === 1) continue;
      const seen = await verifyPackage(chunked(bytes, size), digests);
      expect(seen.generation).toBe(generation);
    }
    const map = await mapPackage(memoryReader(bytes), digests);
    expect(map.generation).toBe(generation);
    expect(map.endOffset).toBe(bytes.length);
    expect(detectGeneration(bytes.subarray(0, 4096), digests)).toBe(generation);
  });

  it("encodes every head it decodes to the same bytes", async () => {
    for (const [, bytes] of packages) {
      const map = await mapPackage(memoryReader(bytes), digests);
      expect(equalBytes(map.format.encodeHeader(map.header), map.headerBytes)).toBe(true);
      const scripts = { begin: map.beginScript, end: map.endScript };
      expect(equalBytes(sealHeader(digests, map.header, scripts), map.headerBytes)).toBe(true);
      for (const record of map.records) {
        expect(equalBytes(map.format.encodeRecord(record.head), record.headBytes)).toBe(true);
        const check = startRecordCheck(digests, map.format, record.head);
        check.update(bytes.subarray(record.payloadOffset, record.payloadOffset + record.head.fileSize));
        expect(equalBytes(check.seal(), record.headBytes)).toBe(true);
      }
    }
  });

  it("gives payloads, offsets and destinations, and checks what the caller leaves unread", async () => {
    const bytes = packages.find(([name]) => name === "v1.6/out_layout")?.[1] as Uint8Array;
    const reader = await readPackage(chunked(bytes, 100), digests);
    const seen: string[] = [];
    for await (const r of reader.records()) {
      seen.push(r.destinations.map((d) => `${d.path}:${d.mask}`).join(" "));
      const want = bytes.subarray(r.payloadOffset, r.payloadOffset + r.head.fileSize);
      if (r.index === 1) {
        for await (const _ of r.payload) break;
        continue;
      }
      const parts: Uint8Array[] = [];
      for await (const chunk of r.payload) parts.push(chunk);
      expect(equalBytes(concatBytes(...parts), want)).toBe(true);
    }
    expect(seen).toEqual(["/dev/mtd0:1 /dev/mtd1:0", "/dev/ubi0_3:1", "boot_otaenv.sh:1", "/config/x/old.txt:1"]);
    const flipped = bytes.slice();
    (flipped[bytes.length - 1700] as number) ^= 1;
    const again = await readPackage(chunked(flipped, 100), digests);
    expect(
      await codeOf(
        (async () => {
          for await (const _ of again.records());
        })(),
      ),
    ).toBe("SIGMASTAR_RECORD_DAMAGED");
  });

  it("names what is wrong", async () => {
    const v04 = packages.find(([name]) => name === "v0.4/multi_append")?.[1] as Uint8Array;
    const at = (bytes: Uint8Array, offset: number, value: number): Uint8Array => {
      const copy = bytes.slice();
      writeU32(copy, offset, value);
      return copy;
    };
    const verify = (bytes: Uint8Array): Promise<string> => codeOf(verifyPackage(chunked(bytes), digests));
    expect(await verify(concatBytes(v04, new Uint8Array(1)))).toBe("SIGMASTAR_TRAILING");
    expect(await verify(v04.subarray(0, v04.length - 1))).toBe("SIGMASTAR_TRUNCATED");
    expect(await verify(at(v04, 12, 7))).toBe("SIGMASTAR_HEADER_DAMAGED");
    expect(await verify(at(v04, 24, 0xffffffff))).toBe("SIGMASTAR_SCRIPT_TOO_LARGE");
    expect(await verify(new Uint8Array(0))).toBe("SIGMASTAR_NOT_PACKAGE");
    expect(await verify(new TextEncoder().encode("#!/bin/sh\necho this is plain text, no package\n"))).toBe(
      "SIGMASTAR_NOT_PACKAGE",
    );
    const v16 = packages.find(([name]) => name === "v1.6/create_begin")?.[1] as Uint8Array;
    expect(await verify(at(v16, 40, 7))).toBe("SIGMASTAR_HEADER_DAMAGED");
    expect(await verify(at(v16, 130, 7))).toBe("SIGMASTAR_SCRIPTS_DAMAGED");
    const other = v16.slice();
    writeU32(other, 36, 3);
    const md5 = digests.create("md5");
    md5.update(other.subarray(16, 128));
    other.set(md5.digest(), 0);
    expect(await verify(other)).toBe("SIGMASTAR_GENERATION_UNSUPPORTED");
  });

  it("refuses operations a generation does not have, and delete records with a payload", async () => {
    const make = (generation: "v0.2" | "v0.4", opt: number, size: number): Uint8Array => {
      const format = FORMATS[generation];
      const payload = new Uint8Array(size);
      const head = format.encodeRecord({ opt, fileSize: size, destination: "/x", destinationSize: 0, mode: 0 });
      const scripts = { begin: new Uint8Array(0), end: new Uint8Array(0) };
      const header = { generation, recordCount: 1, totalSize: size, beginScriptSize: 0, endScriptSize: 0 };
      return concatBytes(sealHeader(digests, header, scripts), head, payload);
    };
    const verify = (bytes: Uint8Array): Promise<string> => codeOf(verifyPackage(chunked(bytes), digests));
    expect(await verify(make("v0.4", 6, 3))).toBe("fine");
    expect(await verify(make("v0.2", 6, 3))).toBe("SIGMASTAR_RECORD_INVALID");
    expect(await verify(make("v0.4", 7, 3))).toBe("SIGMASTAR_RECORD_INVALID");
    expect(await verify(make("v0.4", 4, 0))).toBe("fine");
    expect(await verify(make("v0.4", 4, 3))).toBe("SIGMASTAR_RECORD_INVALID");
  });
});
