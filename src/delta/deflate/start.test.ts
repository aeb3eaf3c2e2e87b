import { deflateRaw } from "pako";
import { expect, it } from "vitest";
import { inflateRawPrefix } from "./inflate.ts";
import { mayBeDeflate } from "./start.ts";

function noise(size: number, seed: number): Uint8Array {
  let state = seed;
  return Uint8Array.from({ length: size }, () => {
    state = (Math.imul(state, 1103515245) + 12345) >>> 0;
    return state >>> 24;
  });
}

it("takes every stream zlib makes, wherever it lies", () => {
  const words = new TextEncoder().encode("some words, and some words again, ".repeat(40));
  for (const content of [words, noise(3000, 5), words.subarray(0, 70), new Uint8Array(500)]) {
    for (const level of [0, 1, 6, 9] as const) {
      const packed = deflateRaw(content, { level });
      expect(mayBeDeflate(packed, 0)).toBe(true);
      const moved = new Uint8Array(packed.length + 3);
      moved.set(packed, 3);
      expect(mayBeDeflate(moved, 3)).toBe(true);
    }
  }
});

it("refuses nothing that inflates, and most of what does not", () => {
  const bytes = noise(40_000, 3);
  let refused = 0;
  for (let at = 0; at + 1000 < bytes.length; at++) {
    if (mayBeDeflate(bytes, at)) continue;
    refused++;
    if (at % 16 === 0) expect(inflateRawPrefix(bytes.subarray(at, at + 1000), 1 << 20)).toBeUndefined();
  }
  expect(refused).toBeGreaterThan(0.7 * bytes.length);
});
