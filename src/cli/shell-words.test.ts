import { describe, expect, it } from "vitest";
import { splitWords } from "./shell-words.ts";

describe("words of a shell", () => {
  it.each([
    ["", []],
    ["  -sign  -inkey k.pem ", ["-sign", "-inkey", "k.pem"]],
    [`-inkey "my keys/k.pem" -x 'a "b" \\'`, ["-inkey", "my keys/k.pem", "-x", `a "b" \\`]],
    [`a\\ b"c \\" d"e ""`, ["a b" + `c " de`, ""]],
  ])("%s", (text, words) => {
    expect(splitWords(text, "--args")).toEqual(words);
  });

  it("refuses what is left open", () => {
    for (const text of [`a "b`, "'", "x\\"]) expect(() => splitWords(text, "--args")).toThrow(/left open/);
  });
});
