import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { decodeText, encodeText, printable } from "./text.ts";

describe("text", () => {
  test("any bytes come back from their text", () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 64 }), (bytes) => {
        expect(encodeText(decodeText(bytes))).toEqual(bytes);
      }),
      { numRuns: 2000 },
    );
  });

  test("agrees with the platform's UTF-8 on well-formed text", () => {
    fc.assert(
      fc.property(fc.string({ unit: "binary" }), (s) => {
        expect(Buffer.from(encodeText(s))).toEqual(Buffer.from(s, "utf8"));
        expect(decodeText(Buffer.from(s, "utf8"))).toBe(s);
      }),
    );
  });

  test("keeps bytes that only look like UTF-8: overlong forms, surrogates, cut sequences", () => {
    for (const hex of ["c080", "e08080", "eda080", "f08080", "f4908080", "c3", "e282", "f09f98", "ff", "80"]) {
      const bytes = new Uint8Array(Buffer.from(hex, "hex"));
      expect(encodeText(decodeText(bytes))).toEqual(bytes);
    }
  });

  test("prints nothing a terminal would act on", () => {
    expect(printable(decodeText(new Uint8Array([0x1b, 0x5b, 0x41, 0xff, 0x0a])))).toBe("\\x1b[A\\xff\\x0a");
  });
});

test("a printed name can neither control the terminal nor look like another name", () => {
  expect(printable("a\u001b[31m\n\u009b\udcff")).toBe("a\\x1b[31m\\x0a\\x9b\\xff");
  expect(printable("gpj.\u202eexe\u2066\u2028\ud800")).toBe("gpj.\\u{202e}exe\\u{2066}\\u{2028}\\u{d800}");
  expect(printable("räksmörgås 漢字 😀")).toBe("räksmörgås 漢字 😀");
});
