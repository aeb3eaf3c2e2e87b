import { test } from "vitest";
import { blockCase } from "./android-board.ts";
import { cutAndFinish } from "./android-cuts.ts";
import { COUNTS } from "./counts.ts";

test("an Android block package (7.1) installs on raw partitions, and after any cuts the same command finishes it", () =>
  cutAndFinish(blockCase, "block package on a raw partition", COUNTS.blockSnapshotCuts));
