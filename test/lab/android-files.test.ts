import { test } from "vitest";
import { fileCase } from "./android-board.ts";
import { cutAndFinish } from "./android-cuts.ts";
import { COUNTS } from "./counts.ts";

test("an Android file package (4.4) installs on ext4, and after any cuts the same command finishes it", () =>
  cutAndFinish(fileCase, "file package on ext4", COUNTS.fileSnapshotCuts));
