/** Row A3: another process swaps the package a thousand times while it is checked and installed; no foreign byte is written. */
import { spawn } from "node:child_process";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { signedBench, type Form } from "../support/signed-benches.ts";

/**
 * The attacker: changes the package under its name in three ways, over and over until it is told to stop: another file renamed
 * over it, the same file rewritten in place, a symbolic link to the foreign file.
 */
const ATTACKER = `
  const { writeFileSync, renameSync, symlinkSync, rmSync, readFileSync } = require("node:fs");
  const [path, evil] = process.argv.slice(1);
  const good = readFileSync(path), bad = readFileSync(evil);
  let swaps = 0, stop = false;
  process.stdin.on("data", () => (stop = true));
  const turn = () => {
    for (let i = 0; i < 20; i++) {
      const content = swaps % 2 === 0 ? bad : good;
      if (swaps % 3 === 0) { writeFileSync(path + ".x", content); renameSync(path + ".x", path); }
      else if (swaps % 3 === 1) writeFileSync(path, content);
      else { rmSync(path + ".l", { force: true }); symlinkSync(evil, path + ".l"); renameSync(path + ".l", path); rmSync(path); writeFileSync(path, content); }
      swaps++;
    }
    if (stop) { rmSync(path, { force: true }); writeFileSync(path, good); process.stdin.destroy(); }
    else { process.stdout.write(swaps + "\\n"); setImmediate(turn); }
  };
  turn();
`;

/** A package that is like the good one in all but its payload: same form, good digests of its own, not signed. */
function foreign(form: Form, good: Buffer): Buffer {
  const evil = Buffer.from(good);
  // Any change makes it foreign; the middle lies in a payload of either form.
  for (let i = 0; i < 64; i++) evil[Math.floor(evil.length / 2) + i] = 0xee;
  if (form === "k230") for (let i = 0; i < 64; i++) evil[0x10000 + 600 + i] = 0xee;
  return evil;
}

describe("A3 the package is swapped between check and use", () => {
  test.each(["sigmastar", "k230"] satisfies Form[])("%s: a thousand swaps, never a foreign byte", async (form) => {
    const bench = await signedBench(form);
    const path = join(bench.folder, bench.name);
    const good = readFileSync(path);
    writeFileSync(join(bench.folder, "evil"), foreign(form, good));
    const targetFiles = form === "k230" ? ["targets/card.img"] : ["targets/mtd5.img", "root/config/app.conf"];
    const oldFiles = targetFiles.map((f) => readFileSync(join(bench.folder, f)));
    const attacker = spawn(process.execPath, ["-e", ATTACKER, path, join(bench.folder, "evil")]);
    let swaps = 0;
    attacker.stdout.on("data", (d: Buffer) => (swaps = Number(d.toString().trim().split("\n").at(-1))));
    await new Promise<void>((resolve) => attacker.stdout.once("data", () => resolve()));
    const codes = new Map<number, number>();
    const foreignByte = Buffer.alloc(32, 0xee);
    for (let i = 0; i < 2000 && (i < 50 || swaps < 1000); i++) {
      const { code } = await bench.install();
      codes.set(code, (codes.get(code) ?? 0) + 1);
      for (const [n, file] of targetFiles.entries()) {
        const content = readFileSync(join(bench.folder, file));
        expect(content.includes(foreignByte), `a foreign byte in ${file}, exit code ${code}`).toBe(false);
        // The next round begins at the old system again.
        if (code === 0) writeFileSync(join(bench.folder, file), oldFiles[n] as Buffer);
      }
    }
    attacker.stdin.write("stop");
    await new Promise((resolve) => attacker.once("exit", resolve));
    expect(swaps).toBeGreaterThanOrEqual(1000);
    // The race was real: some runs met the good package, others a foreign or vanished one.
    expect(
      [...codes.keys()].some((c) => c !== 0),
      JSON.stringify([...codes]),
    ).toBe(true);
    for (const code of codes.keys()) expect([0, 3, 4, 5, 6, 7]).toContain(code);
  });
});
