import { crc32 as zlibCrc32 } from "node:zlib";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { compareBytes, equalBytes, fromHex, readU32, readU64, toHex, writeU64 } from "./bytes.ts";
import { byteSum, crc32 } from "./checksums.ts";
import { ERROR_CODES, EXIT_CODES, isOtaError, OtaError } from "./errors.ts";
import { formatBytes, progressModel } from "./progress.ts";

describe("checksums", () => {
  test("CRC-32 agrees with zlib, whole and continued", () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 300 }), fc.uint8Array({ maxLength: 300 }), (a, b) => {
        expect(crc32(b, crc32(a))).toBe(zlibCrc32(Buffer.concat([a, b])));
      }),
    );
  });

  test("the byte sum wraps at 32 bits", () => {
    expect(byteSum(new Uint8Array([255, 255]), 0xffffffff)).toBe(509);
    expect(byteSum(new Uint8Array(3_000_000).fill(255))).toBe(765_000_000);
  });
});

describe("bytes", () => {
  test("64-bit values are exact to 2^53-1 and NaN beyond", () => {
    const b = new Uint8Array(8);
    for (const v of [0, 1, 2 ** 31 - 1, 2 ** 31, 2 ** 32, 2 ** 32 + 1, Number.MAX_SAFE_INTEGER]) {
      writeU64(b, 0, v);
      expect(readU64(b, 0)).toBe(v);
      expect(readU64(b, 0)).toBe(Number(Buffer.from(b).readBigUInt64LE()));
    }
    expect(readU64(new Uint8Array([1, 0, 0, 0, 0, 0, 0x20, 0]), 0)).toBeNaN();
    expect(readU32(new Uint8Array([255, 255, 255, 255]), 0)).toBe(0xffffffff);
  });

  test("hex goes both ways and refuses what is none", () => {
    expect(fromHex(toHex(new Uint8Array([0, 171, 255])))).toEqual(new Uint8Array([0, 171, 255]));
    expect(fromHex("abc")).toBeUndefined();
    expect(fromHex("zz")).toBeUndefined();
  });

  test("byte order puts a prefix first", () => {
    expect(compareBytes(new Uint8Array([1]), new Uint8Array([1, 0]))).toBeLessThan(0);
    expect(compareBytes(new Uint8Array([2]), new Uint8Array([1, 9]))).toBeGreaterThan(0);
    expect(equalBytes(new Uint8Array([1, 2]), new Uint8Array([1, 2]))).toBe(true);
    expect(equalBytes(new Uint8Array([1, 2]), new Uint8Array([1, 3]))).toBe(false);
  });
});

describe("errors", () => {
  test("every code has a class with an exit code and a meaning", () => {
    for (const [code, [kind, meaning]] of Object.entries(ERROR_CODES)) {
      expect(code).toMatch(/^[A-Z0-9_]+$/);
      expect(EXIT_CODES[kind]).toBeGreaterThan(1);
      expect(meaning.length).toBeGreaterThan(10);
    }
  });

  test("the message says what, where, expected, found and what to do", () => {
    const e = new OtaError("READ_PAST_END", {
      what: "read",
      where: "offset 0x10",
      expected: 4,
      found: 2,
      hint: "Look.",
    });
    expect(e.message).toBe("read (offset 0x10): expected 4, found 2. Look.");
    expect(e.exitCode).toBe(3);
    expect(isOtaError(e, "READ_PAST_END")).toBe(true);
    expect(isOtaError(e, "USAGE")).toBe(false);
    expect(JSON.parse(JSON.stringify(e))).toMatchObject({ code: "READ_PAST_END", kind: "format", found: 2 });
  });
});

describe("progress", () => {
  test("tells fraction, speed and time left of each phase", () => {
    let now = 0;
    const model = progressModel({ monotonicMs: () => now });
    expect(model({ phase: "verify", doneBytes: 0, totalBytes: 100 })).toMatchObject({ fraction: 0, bytesPerSecond: 0 });
    now = 2000;
    expect(model({ phase: "verify", doneBytes: 50, totalBytes: 100 })).toMatchObject({
      fraction: 0.5,
      bytesPerSecond: 25,
      secondsLeft: 2,
    });
    expect(model({ phase: "write", doneBytes: 10, totalBytes: 100 }).bytesPerSecond).toBe(0);
    expect(model({ phase: "write", doneBytes: 0, totalBytes: 0 }).fraction).toBe(1);
  });

  test("prints sizes for people", () => {
    expect([0, 1023, 1024, 1536, 1024 ** 2, 5 * 1024 ** 3].map(formatBytes)).toEqual([
      "0 B",
      "1023 B",
      "1.0 KiB",
      "1.5 KiB",
      "1.0 MiB",
      "5.0 GiB",
    ]);
  });
});
