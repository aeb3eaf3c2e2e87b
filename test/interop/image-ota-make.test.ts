/** The makefile fragment of `docs/` in a small tree of the vendor's form, run by the real make. */
import { spawnSync } from "node:child_process";
import { cpSync, mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { gunzipSync } from "node:zlib";
import { afterAll, describe, expect, it } from "vitest";
import { VECTORS } from "../support/sigmastar.ts";

const path = (name: string): string => fileURLToPath(new URL(`../../${name}`, import.meta.url));
const root = mkdtempSync(join(tmpdir(), "image-ota-make-"));
afterAll(() => rmSync(root, { recursive: true, force: true }));

const TREE = `
IMAGEDIR := images
${["OTABLK", "PATSIZE", "FSTYPE", "BLKENV", "OTAMASK", "DATASIZE", "COPIES"].map((k) => `${k} := _${k.toLowerCase()}`).join("\n")}
multiplyhex = $(shell printf 0x%x $$(( $(1) * $(2) )))
include partition.config
include ${path("docs/image-ota.mk")}
`;

function tree(name: string): { cwd: string; answers: string[]; generation: string; expected: Buffer } {
  const cwd = mkdtempSync(join(root, "tree-"));
  cpSync(join(VECTORS, "flow", name, "inputs"), cwd, { recursive: true });
  writeFileSync(join(cwd, "Makefile"), TREE);
  const spec = JSON.parse(readFileSync(join(VECTORS, "flow", name, "cmd.json"), "utf8")) as {
    answers: string[];
    generation: string;
  };
  return { cwd, ...spec, expected: readFileSync(join(VECTORS, "flow", name, "expected.bin")) };
}

function make(
  cwd: string,
  generation: string,
  input: string,
  more: string[] = [],
): { status: number | null; stderr: string } {
  const argv = ["-s", "image-ota", `IMAGE_OTA=${path("bin/image-ota")}`, `IMAGE_OTA_GENERATION=${generation}`, ...more];
  const { status, stderr, error } = spawnSync("make", argv, { cwd, input, encoding: "utf8" });
  if (error !== undefined) throw error;
  return { status, stderr };
}

describe("docs/image-ota.mk", () => {
  it.each(readdirSync(join(VECTORS, "flow")).sort())("makes %s in a tree of the vendor's form", (name) => {
    const { cwd, answers, generation, expected } = tree(name);
    expect(make(cwd, generation, `${answers.join("\n")}\n`)).toEqual({ status: 0, stderr: "" });
    expect(gunzipSync(readFileSync(join(cwd, "images/SStarOta.bin.gz"))).equals(expected)).toBe(true);
  });

  it("passes on values that need a shell, quotes and blanks", () => {
    const { cwd } = tree("v0.4_nor_no_scripts");
    const more =
      "\nkernel$(PATSIZE) = $(shell printf 0x%x 131072)\nkernel$(BLKENV) = it's \\$${x} here\\nsecond line\n";
    writeFileSync(join(cwd, "partition.config"), readFileSync(join(cwd, "partition.config"), "utf8") + more);
    expect(make(cwd, "v0.4", "", ["IMAGE_OTA_FLAGS=--select kernel"])).toEqual({ status: 0, stderr: "" });
    expect(readFileSync(join(cwd, "images/kernel_otaenv.sh"), "utf8")).toBe(
      "/etc/fw_setenv it's ${x} here\n/etc/fw_setenv second line\n",
    );
  });
});
