import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { equalBytes } from "../../core/index.ts";
import { PAGE, PagedBytes, samePages } from "./paged-bytes.ts";

const SIZE = 3 * PAGE + 100;
const offset = fc.oneof(fc.nat(SIZE - 1), fc.constantFrom(0, PAGE, 2 * PAGE, PAGE - 1));
const step = fc.oneof(
  fc.record({
    do: fc.constant("write" as const),
    who: fc.nat(1),
    at: offset,
    size: fc.nat(2 * PAGE),
    value: fc.nat(255),
  }),
  fc.record({ do: fc.constant("clear" as const), who: fc.nat(1), at: offset, size: fc.nat(2 * PAGE) }),
  fc.record({ do: fc.constant("resize" as const), who: fc.nat(1), at: offset }),
  fc.record({ do: fc.constant("fork" as const), who: fc.nat(1) }),
);

describe("content in shared pages", () => {
  test("behaves like two plain arrays, whatever is forked, written, cleared and cut", () => {
    fc.assert(
      fc.property(fc.constantFrom(0, 0xff), fc.array(step, { maxLength: 30 }), (fill, steps) => {
        const paged = [new PagedBytes(SIZE, fill), new PagedBytes(SIZE, fill)];
        const plain = [new Uint8Array(SIZE).fill(fill), new Uint8Array(SIZE).fill(fill)];
        for (const one of steps) {
          const pages = paged[one.who] as PagedBytes;
          const array = plain[one.who] as Uint8Array;
          if (one.do === "fork") {
            paged[1 - one.who] = pages.fork();
            plain[1 - one.who] = array.slice();
          } else if (one.do === "resize") {
            const size = Math.max(1, one.at);
            const grown = new Uint8Array(size).fill(fill);
            grown.set(array.subarray(0, size));
            pages.resize(size);
            plain[one.who] = grown;
          } else {
            const size = Math.max(0, Math.min(one.size, array.length - one.at));
            const value = one.do === "write" ? one.value : fill;
            if (one.do === "write") pages.write(one.at, new Uint8Array(size).fill(value));
            else if (size > 0) pages.clear(one.at, size);
            if (size > 0) array.fill(value, one.at, one.at + size);
          }
        }
        paged.forEach((pages, i) => {
          const array = plain[i] as Uint8Array;
          expect(pages.size).toBe(array.length);
          expect(equalBytes(pages.read(0, pages.size), array)).toBe(true);
          expect(pages.isAll(7, 0, pages.size)).toBe(array.every((b) => b === 7));
        });
        const [a, b] = paged as [PagedBytes, PagedBytes];
        const n = Math.min(a.size, b.size);
        const [x, y] = plain as [Uint8Array, Uint8Array];
        expect(samePages(a, b, 0, n)).toBe(equalBytes(x.subarray(0, n), y.subarray(0, n)));
      }),
      { numRuns: 300 },
    );
  });
});
