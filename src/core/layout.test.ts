import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { isOtaError } from "./errors.ts";
import { array, layout, raw, s32, text, u16, u32, u32be, u64, u64bits, u8 } from "./layout.ts";

const SAMPLE = layout("sample", 64, {
  small: u8(0, { meaning: "one byte" }),
  pair: u16(2, { meaning: "two bytes" }),
  sum: u32(4, { meaning: "a sum", hex: true, source: "section 1" }),
  big: u32be(8, { meaning: "big-endian" }),
  size: u64(12, { meaning: "a size", unit: "bytes" }),
  flags: u64bits(20, { meaning: "flags" }),
  masks: array(28, 3, s32, { meaning: "masks" }),
  digest: raw(40, 4, { meaning: "a digest" }),
  name: text(48, 16, { meaning: "a name" }),
});

const value = fc.record({
  small: fc.integer({ min: 0, max: 0xff }),
  pair: fc.integer({ min: 0, max: 0xffff }),
  sum: fc.integer({ min: 0, max: 0xffffffff }),
  big: fc.integer({ min: 0, max: 0xffffffff }),
  size: fc.maxSafeNat(),
  flags: fc.bigInt({ min: 0n, max: 0xffffffffffffffffn }),
  masks: fc.array(fc.integer({ min: -0x80000000, max: 0x7fffffff }), { minLength: 3, maxLength: 3 }),
  digest: fc.uint8Array({ minLength: 4, maxLength: 4 }),
  name: fc.stringMatching(/^[^\0]{0,5}$/u),
});

function codeOf(body: () => unknown): string | undefined {
  try {
    body();
  } catch (e) {
    if (isOtaError(e)) return e.code;
    throw e;
  }
  return undefined;
}

describe("layout", () => {
  test("gives back what was encoded", () => {
    fc.assert(
      fc.property(value, (v) => {
        expect(SAMPLE.decode(SAMPLE.encode(v))).toEqual(v);
      }),
    );
  });

  test("decodes any bytes to a value or to LAYOUT_SIZE_UNSAFE, and canonical bytes come back", () => {
    fc.assert(
      fc.property(fc.uint8Array({ minLength: 64, maxLength: 64 }), (bytes) => {
        const code = codeOf(() => SAMPLE.decode(bytes));
        expect([undefined, "LAYOUT_SIZE_UNSAFE"]).toContain(code);
        if (code === undefined) {
          const once = SAMPLE.encode(SAMPLE.decode(bytes));
          expect(SAMPLE.encode(SAMPLE.decode(once))).toEqual(once);
        }
      }),
    );
  });

  test("writes little-endian at the declared offsets", () => {
    const bytes = SAMPLE.encode({
      small: 1,
      pair: 0x0203,
      sum: 0xfedcba98,
      big: 0x01020304,
      size: 0x1_0000_0002,
      flags: 0x0102030405060708n,
      masks: [-1, 0, 1],
      digest: new Uint8Array([9, 8, 7, 6]),
      name: "é",
    });
    expect(Buffer.from(bytes).toString("hex")).toBe(
      "01000302" +
        "98badcfe" +
        "01020304" +
        "0200000001000000" +
        "0807060504030201" +
        "ffffffff0000000001000000" +
        "09080706" +
        "00000000" +
        "c3a90000000000000000000000000000",
    );
  });

  test("refuses values that do not fit, naming the field", () => {
    const good = SAMPLE.decode(new Uint8Array(64));
    expect(codeOf(() => SAMPLE.encode({ ...good, small: 256 }))).toBe("LAYOUT_VALUE_RANGE");
    expect(codeOf(() => SAMPLE.encode({ ...good, size: 2 ** 53 }))).toBe("LAYOUT_VALUE_RANGE");
    expect(codeOf(() => SAMPLE.encode({ ...good, sum: 1.5 }))).toBe("LAYOUT_VALUE_RANGE");
    expect(codeOf(() => SAMPLE.encode({ ...good, digest: new Uint8Array(3) }))).toBe("LAYOUT_VALUE_RANGE");
    expect(() => SAMPLE.encode({ ...good, name: "seventeen letters" })).toThrow("sample.name");
  });

  test("refuses bytes that end too early at every length", () => {
    for (let n = 0; n < 64; n++) expect(codeOf(() => SAMPLE.decode(new Uint8Array(n)))).toBe("LAYOUT_TRUNCATED");
    expect(codeOf(() => SAMPLE.decode(new Uint8Array(80), 17))).toBe("LAYOUT_TRUNCATED");
  });

  test("refuses a declaration whose fields overlap or leave the structure", () => {
    const notes = { meaning: "x" };
    expect(() => layout("bad", 8, { a: u32(0, notes), b: u32(2, notes) })).toThrow(RangeError);
    expect(() => layout("bad", 6, { a: u32(4, notes) })).toThrow(RangeError);
  });

  test("dumps one row a field with file offsets and shown values", () => {
    const rows = SAMPLE.dump(new Uint8Array(64).fill(0x41), 0x100);
    expect(rows.map((r) => r.name)).toEqual(Object.keys(SAMPLE.fields));
    expect(rows.find((r) => r.name === "sum")).toMatchObject({ offset: 0x104, value: "0x41414141" });
    expect(rows.find((r) => r.name === "size")?.value).toBe("invalid, bytes 4141414141414141");
    expect(rows.find((r) => r.name === "name")?.value).toBe('"AAAAAAAAAAAAAAAA"');
  });

  test("makes the documentation's table", () => {
    expect(SAMPLE.markdown()).toContain("| 12 | 8 | u64 | `size` | a size (bytes) |  |");
    expect(SAMPLE.markdown()).toContain("| 4 | 4 | u32 | `sum` | a sum | section 1 |");
  });
});
