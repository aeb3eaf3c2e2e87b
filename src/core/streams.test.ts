import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { concatBytes } from "./bytes.ts";
import { memoryReader, sliceReader, streamRange, StreamTaker } from "./streams.ts";

async function collect(stream: AsyncIterable<Uint8Array>): Promise<Uint8Array> {
  const parts: Uint8Array[] = [];
  for await (const part of stream) parts.push(part);
  return concatBytes(...parts);
}

const content = Uint8Array.from({ length: 1000 }, (_, i) => i * 31);

describe("streams", () => {
  test("streams a range in chunks that add up to it", async () => {
    for (const chunk of [1, 7, 333, 5000]) {
      expect(await collect(streamRange(memoryReader(content), 10, 900, chunk))).toEqual(content.subarray(10, 910));
    }
  });

  test("refuses reads past the end, negative and not-a-number ranges", async () => {
    const reader = sliceReader(memoryReader(content), 100, 50);
    for (const [offset, length] of [
      [0, 51],
      [50, 1],
      [-1, 2],
      [0, -1],
      [Number.NaN, 1],
    ] as const) {
      await expect(reader.read(offset, length)).rejects.toMatchObject({ code: "READ_PAST_END" });
    }
    expect(await reader.read(50, 0)).toHaveLength(0);
  });

  test("takes exact amounts whatever the chunks are", async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.integer({ min: 1, max: 400 }),
        fc.array(fc.integer({ min: 0, max: 200 }), { maxLength: 12 }),
        async (chunk, amounts) => {
          const taker = new StreamTaker(streamRange(memoryReader(content), 0, content.length, chunk));
          let at = 0;
          for (const [i, amount] of amounts.entries()) {
            const want = content.subarray(at, at + amount);
            const got = i % 2 === 0 ? await taker.take(amount) : await collect(taker.pass(amount));
            expect(got).toEqual(want);
            at += want.length;
            expect(taker.offset).toBe(at);
          }
          expect(await taker.atEnd()).toBe(at === content.length);
        },
      ),
    );
  });

  test("gives what is left when the stream ends early", async () => {
    const taker = new StreamTaker(streamRange(memoryReader(content), 0, 10));
    expect(await taker.take(20)).toHaveLength(10);
    expect(await taker.take(1)).toHaveLength(0);
  });
});
