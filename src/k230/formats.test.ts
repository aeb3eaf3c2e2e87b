import { describe, expect, it } from "vitest";
import fc from "fast-check";
import { toHex } from "../core/bytes.ts";
import { isOtaError, OtaError } from "../core/errors.ts";
import { memoryReader } from "../core/streams.ts";
import { sha256Hex, vectorBytes, vectorJson, vectorNames } from "../../test/support/k230-vectors.ts";
import { decodeFirmwareHeader, encodeFirmware, verifyFirmware } from "./firmware.ts";
import { nodeFirmwareCrypto } from "./firmware.node.ts";
import { encodeKdimgHead, readKdimg } from "./kdimg.ts";
import type { KdimgPart } from "./kdimg.ts";
import { chooseSlot, decodeMetaBlock, encodeMetaBlock } from "./ota-meta.ts";
import { decodeToc, encodeToc } from "./toc.ts";

interface ParseCase {
  ok: boolean;
  header: { version: number; flag: number; imageInfo: string; chipInfo: string; boardInfo: string };
  maxOffset: number;
  partsSortedByOffset: {
    name: string;
    offset: number;
    size: number;
    eraseSize: number;
    contentOffset: number;
    contentSize: number;
    sha256: string;
    dataOk: boolean;
    paddedSize?: number;
    paddedSha256?: string;
  }[];
}

describe("kdimg is read as the host reader reads it", () => {
  it.each(vectorNames("parse-"))("%s", async (name) => {
    const expected = vectorJson<ParseCase>(name, "expected.json");
    const bytes = vectorBytes(name, "image.kdimg.gz");
    if (!expected.ok) {
      await expect(readKdimg(memoryReader(bytes))).rejects.toSatisfy((e) => isOtaError(e) && e.kind === "format");
      return;
    }
    const { header, parts } = await readKdimg(memoryReader(bytes));
    expect(header).toMatchObject(expected.header);
    const sorted = [...parts].sort((a, b) => a.offset - b.offset);
    expect(sorted.map((p) => p.name)).toEqual(expected.partsSortedByOffset.map((p) => p.name));
    sorted.forEach((part, i) => {
      const want = expected.partsSortedByOffset[i] as ParseCase["partsSortedByOffset"][number];
      const content = bytes.subarray(part.contentOffset, part.contentOffset + part.contentSize);
      expect({ ...part, flag: undefined, maxSize: undefined, sha256: toHex(part.sha256) }).toMatchObject({
        name: want.name,
        offset: want.offset,
        size: want.size,
        eraseSize: want.eraseSize,
        contentOffset: want.contentOffset,
        contentSize: want.contentSize,
        sha256: want.sha256,
      });
      expect(sha256Hex(content) === want.sha256).toBe(want.dataOk);
      if (want.paddedSha256 !== undefined) {
        const padded = new Uint8Array(Math.max(part.size, content.length)).fill(0xff);
        padded.set(content);
        expect(sha256Hex(padded)).toBe(want.paddedSha256);
      }
    });
  });

  it("recognises the table an older packer counted wrongly", async () => {
    const bytes = vectorBytes("pack-v16-imageless-count-bug", "expected.kdimg.gz");
    await expect(readKdimg(memoryReader(bytes))).rejects.toThrow(/fits the first 1 of 2 entries/);
  });

  it("gives a value or a typed error for every truncation", async () => {
    const bytes = vectorBytes("parse-v2", "image.kdimg.gz");
    for (let n = 0; n < 512 + 3 * 256; n += 7) {
      await expect(readKdimg(memoryReader(bytes.subarray(0, n)))).rejects.toBeInstanceOf(OtaError);
    }
  });

  it("gives a value or a typed error for any bytes", async () => {
    await fc.assert(
      fc.asyncProperty(fc.uint8Array({ maxLength: 2000 }), async (bytes) => {
        await readKdimg(memoryReader(bytes)).catch((e: unknown) => expect(e).toBeInstanceOf(OtaError));
      }),
    );
  });

  it("reads back every head it writes", async () => {
    const u32 = fc.integer({ min: 0, max: 0xffffffff });
    const text = (size: number): fc.Arbitrary<string> =>
      fc.string({ maxLength: size / 4 }).map((s) => s.replaceAll("\0", ""));
    const part: fc.Arbitrary<KdimgPart> = fc.record({
      name: text(32),
      offset: u32,
      size: u32,
      eraseSize: u32,
      maxSize: u32,
      flag: fc.bigInt({ min: 0n, max: 0xffffffffffffffffn }),
      contentOffset: u32,
      contentSize: u32,
      sha256: fc.uint8Array({ minLength: 32, maxLength: 32 }),
    });
    const texts = fc.record({ imageInfo: text(32), chipInfo: text(32), boardInfo: text(64) });
    await fc.assert(
      fc.asyncProperty(texts, fc.array(part, { maxLength: 5 }), async (info, parts) => {
        const back = await readKdimg(memoryReader(encodeKdimgHead(info, parts)));
        expect(back.header).toMatchObject(info);
        expect(back.parts).toEqual(parts);
      }),
    );
  });
});

describe("version blocks", () => {
  it("have the vendor's bytes", () => {
    expect(toHex(encodeMetaBlock(1)).slice(0, 24)).toBe("5641544f01000000c7df25cb");
    expect(toHex(encodeMetaBlock(0)).slice(16, 24)).toBe("669ba90c");
    expect(toHex(encodeMetaBlock(0xffffffff)).slice(16, 24)).toBe("cd09edfc");
  });

  it("are invalid for every torn prefix over an older block or erased bytes, or old as a whole", () => {
    const next = encodeMetaBlock(8);
    for (const before of [encodeMetaBlock(6), new Uint8Array(512), new Uint8Array(512).fill(0xff)]) {
      for (let n = 0; n < 512; n++) {
        const torn = before.slice();
        torn.set(next.subarray(0, n));
        const found = decodeMetaBlock(torn);
        if (found.valid) expect([6, 8]).toContain(found.version);
      }
    }
  });

  it("give ties and devices without blocks to A", () => {
    const valid = (version: number) => ({ valid: true, version });
    const none = { valid: false, version: 0 };
    expect(chooseSlot({ a: none, b: none })).toBe("a");
    expect(chooseSlot({ a: valid(5), b: valid(5) })).toBe("a");
    expect(chooseSlot({ a: none, b: valid(0) })).toBe("b");
    expect(chooseSlot({ a: valid(0xffffffff), b: valid(0) })).toBe("a");
  });
});

describe("the table of contents", () => {
  it("round-trips and ends at a hole, for the loader also at erased flash", () => {
    const entry = (name: string) => ({ name, offset: 0x100000, size: 0x1000, load: 1, boot: 3 });
    const bytes = new Uint8Array(1024);
    bytes.set(encodeToc([entry("rtt_a"), entry("rtt_b")]));
    expect(decodeToc(bytes).map((e) => e.name)).toEqual(["rtt_a", "rtt_b"]);
    bytes.set(encodeToc([entry("late")]), 192);
    expect(decodeToc(bytes)).toHaveLength(2);
    expect(decodeToc(new Uint8Array(1024).fill(0xff))).toHaveLength(0);
    expect(decodeToc(new Uint8Array(1024).fill(0xff), "driver")).toHaveLength(16);
    expect(decodeToc(new Uint8Array(2048).fill(0x41))).toHaveLength(16);
  });
});

interface FirmwareCase {
  length: number;
  cryptoType: number;
  digestField?: string;
  digestOk?: boolean;
  firmwareVersion: number;
  aesKeyHex?: string;
  rsaModulusHex?: string;
  rsaExponent?: number;
  publicKeyHash?: string;
  plaintextSha256?: string;
  ivPlacement?: string;
}

describe("firmware headers", () => {
  it.each(vectorNames("fw-"))("%s", (name) => {
    const want = vectorJson<FirmwareCase>(name, "expected.json");
    const bytes = vectorBytes(name, "firmware.bin");
    const info = decodeFirmwareHeader(bytes);
    expect(info).toMatchObject({ length: want.length, cryptoType: want.cryptoType });
    const trust =
      want.aesKeyHex === undefined
        ? {}
        : {
            aesKey: Buffer.from(want.aesKeyHex, "hex"),
            rsaKeyHash: Buffer.from(want.publicKeyHash ?? "", "hex"),
            firstStage: want.ivPlacement === "fixed-rom-iv",
          };
    const report = verifyFirmware(bytes, nodeFirmwareCrypto, trust);
    expect(report.version).toBe(want.firmwareVersion);
    if (want.digestOk !== undefined) expect(report.ok).toBe(want.digestOk);
    if (want.digestField !== undefined) expect(toHex(info.sha256 as Uint8Array)).toBe(want.digestField);
    if (want.publicKeyHash !== undefined) {
      expect(report).toMatchObject({ ok: true, complete: true, keyHash: want.publicKeyHash });
      const plaintext = vectorBytes(name, "plaintext.bin");
      expect(sha256Hex(plaintext)).toBe(want.plaintextSha256);
      expect([plaintext, plaintext.subarray(4)].map(toHex)).toContain(toHex(report.image as Uint8Array));
      expect(verifyFirmware(bytes, nodeFirmwareCrypto, { ...trust, versionFloor: 4 }).problem?.code).toBe(
        "K230_FIRMWARE_VERSION",
      );
      expect(verifyFirmware(bytes, nodeFirmwareCrypto, { rsaKeyHash: new Uint8Array(32) }).problem?.code).toBe(
        "K230_FIRMWARE_UNTRUSTED",
      );
      expect(verifyFirmware(bytes, nodeFirmwareCrypto)).toMatchObject({ ok: true, complete: false });
      const flipped = bytes.slice();
      flipped[600] = (flipped[600] ?? 0) ^ 1;
      expect(verifyFirmware(flipped, nodeFirmwareCrypto, trust).problem?.code).toBe("K230_FIRMWARE_UNTRUSTED");
    }
    if (want.cryptoType === 0 && want.digestOk === true) {
      const image = bytes.subarray(532);
      expect(toHex(encodeFirmware(image, want.firmwareVersion, nodeFirmwareCrypto.sha256))).toBe(toHex(bytes));
    }
  });

  it("says what is wrong with any bytes instead of throwing", () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 1200 }), (bytes) => {
        expect(verifyFirmware(bytes, nodeFirmwareCrypto).ok).toBe(false);
      }),
    );
  });
});
