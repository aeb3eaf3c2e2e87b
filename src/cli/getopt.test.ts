import { describe, expect, it } from "vitest";
import { getopt, type GetoptOption } from "./getopt.ts";

const TABLE: readonly GetoptOption[] = [
  { long: "append", short: "a", takesValue: true },
  { long: "block-update", takesValue: false },
  { long: "begin-script", short: "b", takesValue: true },
  { long: "dir-update", takesValue: false },
  { long: "dir-update-diff", takesValue: false },
  { long: "default-mask", takesValue: true },
  { long: "file-mode", short: "m", takesValue: true },
  { short: "r", takesValue: true },
  { short: "v", takesValue: false },
  { long: "build-id", takesValue: true, extra: true },
  { long: "generation", takesValue: true, extra: true },
];
const read = (...argv: string[]): string[] =>
  getopt(argv, TABLE).options.map((o) => (o.value === undefined ? o.name : `${o.name}=${o.value}`));

describe("getopt", () => {
  it("takes unique abbreviations, and an exact name before a longer one", () => {
    expect(read("--block", "--beg", "x")).toEqual(["block-update", "begin-script=x"]);
    expect(read("--dir-update")).toEqual(["dir-update"]);
    expect(() => read("--dir-up")).toThrow(/ambiguous.*--dir-update, --dir-update-diff/);
    expect(() => read("--b")).toThrow("ambiguous");
  });
  it("lets options of ours never disturb the original's abbreviations", () => {
    expect(read("--bl")).toEqual(["block-update"]);
    expect(read("--g", "v0.4", "--bu=7")).toEqual(["generation=v0.4", "build-id=7"]);
  });
  it("takes values joined, behind = and as the next argument, whatever it looks like", () => {
    expect(read("-m0x10", "--file-mode=1=2", "--default-mask", "-m", "-rfile", "-r", "x")).toEqual([
      "file-mode=0x10",
      "file-mode=1=2",
      "default-mask=-m",
      "r=file",
      "r=x",
    ]);
    expect(read("--default-mask=", "-vm7")).toEqual(["default-mask=", "v", "file-mode=7"]);
  });
  it("collects operands anywhere and stops at --", () => {
    expect(getopt(["x", "-v", "-", "--", "-a"], TABLE).operands).toEqual(["x", "-", "-a"]);
  });
  it("refuses unknown options, missing values and values nobody asked for", () => {
    expect(() => read("--nope")).toThrow("unknown option (--nope)");
    expect(() => read("-x")).toThrow("unknown option (-x)");
    expect(() => read("-a")).toThrow("needs a value (-a)");
    expect(() => read("--append")).toThrow("needs a value (--append)");
    expect(() => read("--block-update=1")).toThrow("takes no value");
  });
});
