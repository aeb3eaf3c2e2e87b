import { describe, expect, it } from "vitest";
import { listProblem } from "./check-list.ts";
import type { ListSurroundings } from "./check-list.ts";
import { parseTransferList } from "./transfer-list.ts";
import type { TransferList } from "./transfer-list.ts";

const A = "b3ad7fcbf1fc425c82beaeeda2a55101980a10d6";
const B = "da39a3ee5e6b4b0d3255bfef95601890afd80709";
const AROUND = { device: 16 * 4096, newData: 2 * 4096, patchData: 100 };

const problemOf = (
  version: number,
  lines: readonly string[],
  around: ListSurroundings = AROUND,
): string | undefined => {
  const head = version === 1 ? "1\n4\n" : `${version}\n4\n1\n8\n`;
  return listProblem(parseTransferList(head + lines.join("\n"), () => undefined) as TransferList, around);
};

describe("a transfer list before its first command", () => {
  it.each([
    [1, ["move 2,0,2 2,8,10", "bsdiff 0 100 2,0,2 2,4,7", "new 2,0,2", "zero 2,15,16", "erase 2,3,4"]],
    [2, ["stash 0 2,0,2", "move 2,8,10 2 - 0:2,0,2", "free 0", "stash 0 2,0,3", "move 2,8,11 3 - 0:2,0,3"]],
    [3, [`stash ${A} 2,0,2`, `stash ${A} 2,0,2`, `move ${B} 2,8,11 3 2,4,5 2,2,3 ${A}:2,0,2`, `free ${A}`]],
    [4, [`imgdiff 90 10 ${A} ${B} 2,8,12 2 2,0,2`, `move ${A} 2,8,10 2 2,0,2`]],
  ] as const)("version %i: what can be done has no problem", (version, lines) => {
    expect(problemOf(version, lines)).toBeUndefined();
  });

  it.each([
    [4, "patch 2,0,2", "is no command"],
    [4, "new", "failed to parse range ''"],
    [4, "zero 2,15,17", "writes block 16, the device has 16"],
    [1, "move 2,15,17 2,0,2", "reads block 16, the device has 16"],
    [1, "move 2,0,1 2,8,10", "moves 1 blocks to 2"],
    [3, `move ${A} 2,8,11 2 2,0,2`, "moves 2 blocks to 3"],
    [3, `move ${A} 2,8,10 2 2,0,3`, "reads 3 blocks and states 2"],
    [3, `move ${A} 2,8,10 x 2,0,2`, "the number of source blocks 'x' is no number"],
    [3, `move ${A} 2,8,10 300000 2,0,2`, "takes 300000 blocks, more than 262144"],
    [3, `move ${A} 2,8,10 2 2,0,2 2,1,3`, "places a block at 2 of 2"],
    [3, `move ${A} 2,8,10 2 2,0,1 2,0,2`, "places 2 of 1 blocks"],
    [3, `move ${A} 2,8,10 2 - ${B}:2,0,2`, `takes stash '${B}', which no command before it keeps`],
    [2, "stash ../x 2,0,2", "has no name of a stash"],
    [2, "stash 0 2,15,17", "reads block 16, the device has 16"],
    [4, `bsdiff 90 11 ${A} ${B} 2,8,12 2 2,0,2`, "has its patch up to byte 101 of 100"],
    [4, `bsdiff -1 11 ${A} ${B} 2,8,12 2 2,0,2`, "the patch's offset '-1' is no number"],
  ] as const)("version %i: %s", (version, line, problem) => {
    expect(problemOf(version, ["zero 2,3,4", line])).toBe(`[${line.slice(0, 120)}] ${problem}`);
  });

  it("a stash that was freed, or is smaller than what is taken of it", () => {
    expect(problemOf(2, ["stash 0 2,0,2", "free 0", "move 2,8,10 2 - 0:2,0,2"])).toContain("takes stash '0'");
    expect(problemOf(2, ["stash 0 2,0,1", "move 2,8,10 2 - 0:2,0,2"])).toContain("places 2 of 1 blocks");
  });

  it("new data that ends too early, where its size is known", () => {
    const lines = ["new 2,0,2", "new 2,4,5"];
    expect(problemOf(4, lines)).toContain("needs 12288 bytes of new data, there are 8192");
    expect(problemOf(4, lines, { ...AROUND, newData: undefined })).toBeUndefined();
  });
});
