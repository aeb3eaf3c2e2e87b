import { readFileSync, writeFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { expect, it } from "vitest";
import {
  HEADER_V02,
  HEADER_V03,
  HEADER_V04,
  HEADER_V16,
  OPERATIONS,
  RECORD_V02,
  RECORD_V04,
  RECORD_V16,
} from "./layout.ts";

const FILE = fileURLToPath(new URL("../../docs/sigmastar.md", import.meta.url));

function tables(): Map<string, string> {
  const layouts = [HEADER_V02, HEADER_V03, HEADER_V04, HEADER_V16, RECORD_V02, RECORD_V04, RECORD_V16];
  const rows = OPERATIONS.map((o) => `| ${o.opt} | ${o.name} | \`--${o.option}\` | ${o.does} |`);
  const operations = ["| opt | name | option | what a client does |", "|--:|---|---|---|", ...rows, ""].join("\n");
  return new Map([...layouts.map((l): [string, string] => [l.name, l.markdown()]), ["operations", operations]]);
}

it("the tables of docs/sigmastar.md are those of the layouts (UPDATE_DOCS=1 writes them)", () => {
  const known = tables();
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
