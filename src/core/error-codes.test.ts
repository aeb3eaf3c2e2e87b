import { readdirSync, readFileSync } from "node:fs";
import { expect, it } from "vitest";

it("every error code is declared once: a second declaration would silently change the first one's exit code", () => {
  const folder = new URL("error-codes/", import.meta.url);
  const codes = readdirSync(folder).flatMap((name) =>
    [...readFileSync(new URL(name, folder), "utf8").matchAll(/^ {2}([A-Z][A-Z0-9_]+):/gm)].map((m) => m[1] as string),
  );
  expect(codes.length).toBeGreaterThan(50);
  expect(codes.filter((code, i) => codes.indexOf(code) !== i)).toEqual([]);
});
