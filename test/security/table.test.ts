/** The table of docs/security.md cannot rot: every row is there, and every test it names exists under that name. */
import { readFileSync } from "node:fs";
import { dirname, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { expect, test } from "vitest";

const DOCUMENT = fileURLToPath(new URL("../../docs/security.md", import.meta.url));
const rows = readFileSync(DOCUMENT, "utf8")
  .split("\n")
  .flatMap((line) => {
    const cells = line.split("|").map((c) => c.trim());
    return /^A\d+$/.test(cells[1] ?? "")
      ? [{ row: cells[1] as string, what: cells[3] as string, tests: cells[4] as string }]
      : [];
  });
/** Rows that only a network peer can try. */
const NETWORK = ["A9", "A11", "A27", "A28"];

test("has all thirty rows, each with a test or the word network", () => {
  expect(rows.map((r) => r.row)).toEqual(Array.from({ length: 30 }, (_, i) => `A${i + 1}`));
  for (const { row, what, tests } of rows) {
    if (NETWORK.includes(row)) expect([row, what, tests]).toEqual([row, "network", ""]);
    else expect([row, tests]).toEqual([row, expect.stringContaining("](../")]);
  }
});

test.each(
  rows.flatMap(({ row, tests }) => [...tests.matchAll(/\[([^\]]+)\]\(([^)]+)\)/g)].map((m) => [row, m[1], m[2]])),
)("%s names an existing test: %s", (_, title, path) => {
  const source = readFileSync(resolve(dirname(DOCUMENT), path as string), "utf8");
  // A title stands in quotes and a comma follows: not a comment that happens to have the words.
  const literal = (title as string).replace(/[.*+?^${}()|[\]\\]/g, "\\$&");
  expect(source, `${title} in ${path}`).toMatch(new RegExp(`["'\`][^"'\`\n]*${literal}[^"'\`\n]*["'\`],`));
});
