import { readFileSync, writeFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { expect, it } from "vitest";
import { FORGE_HEADER } from "./layout.ts";
import { PACKED_WITH } from "./packed-with.ts";

const FILE = fileURLToPath(new URL("../../../docs/delta-format.md", import.meta.url));

it("the header's table in docs/delta-format.md is that of the layout (UPDATE_DOCS=1 writes it)", () => {
  const before = readFileSync(FILE, "utf8");
  const begin = `<!-- table: ${FORGE_HEADER.name} -->\n`;
  expect(before).toContain(begin);
  const [front, rest] = before.split(begin) as [string, string];
  const after = `${front}${begin}${FORGE_HEADER.markdown()}${rest.slice(rest.indexOf("<!-- /table -->"))}`;
  if (process.env["UPDATE_DOCS"] === "1") writeFileSync(FILE, after);
  else expect(before).toBe(after);
});

it("docs/delta-format.md knows every re-packer", () => {
  const text = readFileSync(FILE, "utf8");
  for (const [id, name] of Object.entries(PACKED_WITH)) {
    expect(text).toMatch(new RegExp(`^\\|\\s*${id} \\| \`${name}\``, "m"));
  }
});
