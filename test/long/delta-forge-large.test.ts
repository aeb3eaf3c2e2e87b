/** Files beyond 4 GiB, as readers that make their bytes up: nothing of that size is stored or held. */
import { expect, it } from "vitest";
import { concatBytes, equalBytes } from "../../src/core/bytes.ts";
import type { RandomReader } from "../../src/core/ports.ts";
import { memoryReader } from "../../src/core/streams.ts";
import { applyForge, CoverList, makeForge, readForge } from "../../src/delta/index.ts";
import { nodeDigests as digests } from "../../src/device/digests.ts";
import { text } from "../support/forge-mutations.ts";

const GIB = 1024 ** 3;
const FULL = process.env["OTAFORGE_LONG"] === "1";

interface Island {
  readonly at: number;
  readonly bytes: Uint8Array;
}

/** Zeros with islands of bytes. */
function seaReader(size: number, islands: readonly Island[]): RandomReader {
  const fill = (offset: number, out: Uint8Array): void => {
    out.fill(0);
    for (const { at, bytes } of islands) {
      const from = Math.max(at, offset);
      const to = Math.min(at + bytes.length, offset + out.length);
      if (to > from) out.set(bytes.subarray(from - at, to - at), from - offset);
    }
  };
  return {
    size,
    async read(offset, length) {
      const out = new Uint8Array(length);
      fill(offset, out);
      return out;
    },
    async readInto(offset, out) {
      fill(offset, out);
    },
  };
}

const island = text(8000, 1);
const places = [0.5 * GIB, 2 * GIB - 1000, 4 * GIB - 20_000, 4.5 * GIB + 7];

it("takes bytes of old from behind 4 GiB", async () => {
  const old = seaReader(
    5 * GIB,
    places.map((at) => ({ at, bytes: island })),
  );
  const parts = places.map((_, i) => concatBytes(text(30, i + 2), island.subarray(i * 900)));
  const fresh = concatBytes(...parts);
  const covers = new CoverList();
  let at = 0;
  for (const [i, part] of parts.entries()) {
    const size = island.length - i * 900;
    covers.add(at + part.length - size, (places[i] as number) + i * 900, size);
    at += part.length;
  }
  const delta = await makeForge(old, memoryReader(fresh), {
    digests,
    covers: () => covers,
    repackers: [],
    blockSize: 100_000,
  });
  expect(delta.memoryBytes).toBeLessThan(64 * 1024 * 1024);
  const patch = memoryReader(concatBytes(...delta.parts));
  expect((await readForge(patch, digests)).header.oldSize).toBe(5 * GIB);
  const out: Uint8Array[] = [];
  for await (const bytes of applyForge(old, patch, { digests })) out.push(bytes);
  expect(equalBytes(concatBytes(...out), fresh)).toBe(true);
  // New bytes beside the islands, and few for them.
  expect(delta.size).toBeLessThan(5 * 1024 * 16 + 6000);
});

it.runIf(FULL)("makes a file of more than 4 GiB, in windows, and goes on behind 4 GiB", async () => {
  const old = seaReader(
    4.2 * GIB,
    places.slice(0, 3).map((at) => ({ at, bytes: island })),
  );
  const shift = 5000;
  const fresh = seaReader(4.2 * GIB + shift, [
    { at: 0, bytes: text(400, 3) },
    ...places.slice(0, 3).map((at) => ({ at: at + shift, bytes: island })),
  ]);
  const covers = new CoverList();
  covers.add(shift, 0, old.size);
  const delta = await makeForge(old, fresh, { digests, covers: () => covers, repackers: [] });
  expect(delta.memoryBytes).toBeLessThan(64 * 1024 * 1024);
  const patch = memoryReader(concatBytes(...delta.parts));
  const { blocks, windows } = await readForge(patch, digests);
  expect(windows.length).toBeGreaterThan(30);
  const check = async (fromBlock: number): Promise<void> => {
    let at = blocks[fromBlock]?.fileAt ?? 0;
    for await (const bytes of applyForge(old, patch, { digests, check: "along", fromBlock })) {
      if (!equalBytes(bytes, await fresh.read(at, bytes.length))) throw new Error(`other bytes at ${at}`);
      at += bytes.length;
    }
    expect(at).toBe(fresh.size);
  };
  await check(0);
  await check(blocks.findIndex((b) => b.fileAt > 4 * GIB));
});
