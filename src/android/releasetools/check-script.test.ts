import { expect, it } from "vitest";
import { checkNames } from "./check-script.ts";

it("warns of names that 4.4 devices refuse, and of 7.1 none", () => {
  const notes: string[] = [];
  const note = (level: string, text: string): void => void notes.push(`${level}: ${text}`);
  checkNames(["system/app/a b.apk", "META-INF/x"], { era: "4.4", note });
  checkNames(["system/ü", "system/b"], { era: "7.1", note });
  expect(notes).toEqual([]);
  checkNames(["system/a", "system/ü"], { era: "4.4", note });
  checkNames(["system/\x7f", "system/a\nb", "system/c"], { era: "4.4", note });
  expect(notes).toEqual([
    "warning: system/ü: no 4.4 device opens a package with names beyond ASCII",
    expect.stringMatching(/^warning: system\/.* and 1 more: no 4\.4 device opens/),
  ]);
});
