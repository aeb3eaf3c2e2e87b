import { readFileSync, writeFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { expect, it } from "vitest";
import { K230_LAYOUTS } from "./layouts.ts";

const FILE = fileURLToPath(new URL("../../docs/k230.md", import.meta.url));

it("the tables of docs/k230.md are those of the layouts (UPDATE_DOCS=1 writes them)", () => {
  const known = new Map<string, string>(K230_LAYOUTS.map((l) => [l.name, l.markdown()]));
  const before = readFileSync(FILE, "utf8");
  const seen = new Set<string>();
  const after = before.replace(/<!-- table: (.*?) -->\n[^]*?<!-- \/table -->/g, (whole, name: string) => {
    const table = known.get(name);
    if (table === undefined) return whole;
    seen.add(name);
    return `<!-- table: ${name} -->\n${table}<!-- /table -->`;
  });
  expect([...seen].sort()).toEqual([...known.keys()].sort());
  if (process.env["UPDATE_DOCS"] === "1") writeFileSync(FILE, after);
  else expect(before).toBe(after);
});
