import { describe, expect, it } from "vitest";
import { concatBytes } from "../core/bytes.ts";
import { OtaError } from "../core/errors.ts";
import { memoryReader } from "../core/streams.ts";
import { nodeDigests as digests } from "../device/digests.ts";
import { chooseFullOrDelta, createPlainMaker, makeOtaforge, type PatchCandidate } from "./index.ts";

function noise(size: number, seed: number): Uint8Array {
  let state = seed;
  return Uint8Array.from({ length: size }, () => (state = (Math.imul(state, 1103515245) + 12345) >>> 0) >>> 16);
}

const old = noise(6000, 3);
const fresh = concatBytes(old.subarray(0, 3000), noise(50, 4), old.subarray(3100));
const pair = [memoryReader(old), memoryReader(fresh)] as const;
const maker = createPlainMaker();
const bsdiff: PatchCandidate = { format: "bsdiff40", make: () => maker.bsdiff40(...pair) };
const forge: PatchCandidate = { format: "otaforge", make: () => makeOtaforge(maker, ...pair, { digests }) };

describe("full or delta", () => {
  it("takes the smallest proven patch", async () => {
    const choice = await chooseFullOrDelta(pair, fresh.length, [bsdiff, forge], { digests });
    expect(choice.kind).toBe("delta");
    if (choice.kind !== "delta") return;
    const sizes = choice.attempts.map((a) => a.size as number);
    expect(choice.patch.length).toBe(Math.min(...sizes));
    expect(choice.attempts).toHaveLength(2);
    expect(choice.ratio).toBeLessThan(0.2);
  });

  it("never ships a patch above 95 % of the full item", async () => {
    const size = (await bsdiff.make()).length;
    const atLimit = await chooseFullOrDelta(pair, Math.ceil(size / 0.95), [bsdiff], { digests });
    expect(atLimit.kind).toBe("delta");
    const above = await chooseFullOrDelta(pair, Math.floor(size / 0.96), [bsdiff], { digests });
    expect(above).toEqual({ kind: "full", attempts: [{ format: "bsdiff40", size, refused: "too large" }] });
  });

  it("does not ship a patch that gives other bytes or none, and goes on to the next", async () => {
    const wrong: PatchCandidate = {
      format: "bsdiff40",
      make: () => maker.bsdiff40(pair[0], memoryReader(fresh.subarray(1))),
    };
    const broken: PatchCandidate = { format: "imgdiff2", make: async () => noise(100, 1) };
    const choice = await chooseFullOrDelta(pair, fresh.length, [wrong, broken, forge], { digests });
    expect(choice.kind === "delta" && choice.format).toBe("otaforge");
    expect(choice.attempts.filter((a) => a.refused === "does not give new").length).toBeGreaterThan(0);
    const none = await chooseFullOrDelta(pair, fresh.length, [wrong, broken], { digests });
    expect(none.kind).toBe("full");
  });

  it("passes over formats that do not fit the pair", async () => {
    const zip: PatchCandidate = { format: "imgdiff2", make: () => maker.imgdiff2(...pair, { zip: true }) };
    const choice = await chooseFullOrDelta(pair, fresh.length, [zip], { digests });
    expect(choice).toEqual({ kind: "full", attempts: [{ format: "imgdiff2", refused: "not possible" }] });
  });

  it("lets errors of reading and the caller's stop through", async () => {
    const failing: PatchCandidate = {
      format: "bsdiff40",
      make: async () => {
        throw new OtaError("DEVICE_IO", "read failed");
      },
    };
    await expect(chooseFullOrDelta(pair, 100, [failing], { digests })).rejects.toMatchObject({ code: "DEVICE_IO" });
    await expect(chooseFullOrDelta(pair, 100, [bsdiff], { digests, signal: { aborted: true } })).rejects.toMatchObject({
      code: "CANCELLED",
    });
  });
});
