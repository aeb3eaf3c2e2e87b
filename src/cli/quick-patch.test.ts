import { describe, expect, it } from "vitest";
import { quickPatch, quickRequest } from "./quick-patch.ts";

describe("the patch command's short form", () => {
  it("reads three files and the options that change nothing but the report", () => {
    const rest = { operands: ["a", "b", "c"], values: new Map() };
    expect(quickRequest(["a", "b", "c"])).toEqual({ ...rest, json: false, style: "auto" });
    expect(quickRequest(["a", "--json", "b", "--progress", "none", "c"])).toEqual({
      ...rest,
      json: true,
      style: "none",
    });
    expect(quickRequest(["--progress=json", "a", "b", "c"])).toEqual({ ...rest, json: false, style: "json" });
  });

  it.each([
    [["a", "b"]],
    [["a", "b", "c", "d"]],
    [["a", "b", "--help"]],
    [["a", "b", "c", "--repack", "none"]],
    [["a", "b", "c", "--progress", "loud"]],
    [["a", "b", "c", "--progress"]],
    [["a", "b", "c", "--"]],
    [["a", "-b", "x", "c", "d"]],
  ])("leaves %j to the full command", (argv) => {
    expect(quickRequest(argv)).toBeUndefined();
  });

  it("does nothing with files it cannot patch", async () => {
    expect(await quickPatch(["/nowhere/a", "/nowhere/b", "/nowhere/c", "--progress", "none"])).toBe(false);
  });
});
