import { describe, expect, it } from "vitest";
import { replaceFields } from "./proto.ts";

const bytes = (...b: readonly number[]): Uint8Array => Uint8Array.from(b);

describe("fields of a message replaced", () => {
  it.each([
    ["where they stood", [0x18, 1, 0x20, 7, 0x28, 8, 0x60, 9], [0x18, 1, 0x20, 5, 0x60, 9]],
    ["in front of higher ones when there were none", [0x18, 1, 0x60, 9], [0x18, 1, 0x20, 5, 0x60, 9]],
    ["behind lower ones", [0x18, 1], [0x18, 1, 0x20, 5]],
    ["in an empty message", [], [0x20, 5]],
    [
      "with unknown ones as they are",
      [0xa2, 0x06, 2, 0x20, 7, 0x20, 7, 0x18, 1],
      [0x20, 5, 0xa2, 0x06, 2, 0x20, 7, 0x18, 1],
    ],
  ])("%s", (_, before, after) => {
    expect(replaceFields(bytes(...before), new Set([4, 5]), bytes(0x20, 5))).toEqual(bytes(...after));
  });
});
