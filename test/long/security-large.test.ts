/** Row A2: a package of 5 GiB is signed and verified over all of its bytes; sizes wrap nowhere. */
import { spawnSync } from "node:child_process";
import { closeSync, mkdtempSync, openSync, rmSync, statSync, truncateSync, writeSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, describe, expect, it } from "vitest";

const bin = (name: string): string => fileURLToPath(new URL(`../../bin/${name}`, import.meta.url));
const root = mkdtempSync(join(tmpdir(), "signed-large-"));
afterAll(() => rmSync(root, { recursive: true, force: true }));

const SIZE = 5 * 2 ** 30;

function run(name: string, ...argv: string[]): { status: number | null; stdout: string; stderr: string } {
  const { status, stdout, stderr } = spawnSync(bin(name), argv, { encoding: "utf8", cwd: root });
  return { status, stdout, stderr };
}

/** Flips a bit of one byte where it stands. */
function flip(path: string, offset: number, byte: number): void {
  const file = openSync(path, "r+");
  writeSync(file, Uint8Array.of(byte), 0, 1, offset);
  closeSync(file);
}

describe("A2 a signed package of 5 GiB", () => {
  it("verifies whole, and a flip of its last byte is caught by the signature", () => {
    const image = join(root, "image");
    closeSync(openSync(image, "w"));
    truncateSync(image, SIZE);
    const made = ["-a", "pack", "-s", "image", "-d", "/dev/mmcblk0p5", "-t", String(SIZE), "--block-update"];
    expect(run("otapack", "-c", "pack").status).toBe(0);
    expect(run("otapack", ...made).status).toBe(0);
    rmSync(image);
    expect(run("otaforge", "keygen", "release").status).toBe(0);
    const signed = run("otaforge", "sign", "pack", "--key", "release.pem", "--package-version", "1.0");
    expect([signed.status, signed.stderr]).toEqual([0, ""]);
    const pack = join(root, "pack");
    const { size } = statSync(pack);
    expect(size).toBeGreaterThan(SIZE);
    const verify = ["verify", "pack", "--key", "release.pub.pem", "--progress", "none"];
    const good = run("otaforge", ...verify);
    expect([good.status, good.stdout]).toEqual([0, expect.stringContaining("signed by")]);
    // A size of 32 bits would end long before it.
    flip(pack, size - 1, 1);
    const bad = run("otaforge", ...verify);
    expect([bad.status, bad.stderr]).toEqual([4, expect.stringContaining("differs from what was signed")]);
  });
});
