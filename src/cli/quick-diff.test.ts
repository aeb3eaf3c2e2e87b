import { mkdtemp, readdir, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { quickDiff, quickDiffRequest } from "./quick-diff.ts";

describe("the diff command's short form", () => {
  let folder: string;
  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), "otaforge-"));
    await writeFile(join(folder, "a"), "there is an old file");
  });
  afterAll(() => rm(folder, { recursive: true }));

  it("reads three files and what BSDIFF40 is made with", () => {
    const operands = ["a", "b", "c"];
    expect(quickDiffRequest(["a", "b", "c"])).toMatchObject({
      operands,
      json: false,
      style: "auto",
      effort: "default",
    });
    expect(
      quickDiffRequest(["--format=bsdiff40", "a", "--effort", "fast", "b", "c", "-j", "2", "--json"]),
    ).toMatchObject({
      operands,
      json: true,
      effort: "fast",
      jobs: 2,
    });
    expect(quickDiffRequest(["a", "b", "c", "--jobs=12", "--progress", "none"])).toMatchObject({
      jobs: 12,
      style: "none",
    });
  });

  it.each([
    [["a", "b"]],
    [["a", "b", "c", "d"]],
    [["a", "b", "c", "--help"]],
    [["a", "b", "c", "--"]],
    [["a", "b", "c", "--format", "otaforge"]],
    [["a", "b", "c", "--format=bsdiff40", "--zip"]],
    [["a", "b", "c", "--effort", "toString"]],
    [["a", "b", "c", "--effort"]],
    [["a", "b", "c", "--jobs", "0"]],
    [["a", "b", "c", "--jobs", "0x2"]],
    [["a", "b", "c", "-j2"]],
    [["a", "b", "c", "-j", "1", "--jobs", "2"]],
    [["a", "b", "c", "--repack", "none"]],
    [["a", "b", "c", "--vendor-compatible"]],
    [["a", "b", "c", "--json=yes"]],
  ])("leaves %j to the full command", (argv) => {
    expect(quickDiffRequest(argv)).toBeUndefined();
  });

  it("does nothing with files it cannot open", async () => {
    const [old, none, patch] = ["a", "none", "patch"].map((name) => join(folder, name)) as [string, string, string];
    expect(await quickDiff([old, none, patch, "--progress", "none"])).toBe(false);
    expect(await quickDiff([none, old, patch, "--progress", "none"])).toBe(false);
    expect(await readdir(folder)).toEqual(["a"]);
  });
});
