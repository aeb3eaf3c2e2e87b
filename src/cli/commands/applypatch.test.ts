import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createHash } from "node:crypto";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { OtaError } from "../../core/errors.ts";
import { captureIo } from "../io.ts";
import { exitCodeBesideOriginal, runGuarded } from "../run.ts";
import { applypatchMain } from "./applypatch.ts";

const cwd = mkdtempSync(join(tmpdir(), "otaforge-applypatch-"));
afterAll(() => rmSync(cwd, { recursive: true }));
const VECTORS = new URL("../../../test/vectors/android/applypatch/cli/", import.meta.url);
const vector = (name: string): Uint8Array => new Uint8Array(readFileSync(new URL(name, VECTORS)));
const sha1 = (bytes: Uint8Array): string => createHash("sha1").update(bytes).digest("hex");

async function run(...argv: string[]) {
  const io = captureIo({ cwd });
  const code = await runGuarded("applypatch", applypatchMain, argv, io, exitCodeBesideOriginal);
  return { code, out: io.stdout(), err: io.stderr() };
}

describe("applypatch on this machine", () => {
  it("takes relative names from the working folder", async () => {
    writeFileSync(join(cwd, "file é"), "content");
    expect((await run("-c", "file é", sha1(Buffer.from("content")))).code).toBe(0);
    expect((await run("-c", `./file é`, sha1(Buffer.from("other")))).code).toBe(1);
  });

  it("patches a file named relatively with a patch named relatively, bonus too", async () => {
    writeFileSync(join(cwd, "src"), vector("src.bin"));
    writeFileSync(join(cwd, "p"), vector("p.bsdiff"));
    const [from, to] = [sha1(vector("src.bin")), sha1(vector("tgt.bin"))];
    expect((await run("-b", "p", "src", "made", to, String(vector("tgt.bin").length), `${from}:p`)).code).toBe(0);
    expect(sha1(readFileSync(join(cwd, "made")))).toBe(to);
    expect((await run("src", "-", to, String(vector("tgt.bin").length), `${from}:p`)).code).toBe(0);
    expect(sha1(readFileSync(join(cwd, "src")))).toBe(to);
  });
});

describe("what is not the original's", () => {
  it("--device without its value is no order for this machine", async () => {
    writeFileSync(join(cwd, "f"), "x");
    const got = await run("-c", "f", sha1(Buffer.from("x")), "--device");
    expect(got.code).toBe(2);
    expect(got.out).toContain("usage: applypatch");
  });

  it("-h runs nothing, whatever else is there", async () => {
    const got = await run("-c", "f", "-h");
    expect(got.code).toBe(0);
    expect(got.out).toMatch(/^usage: applypatch[^]*--device FILE/);
  });

  it("-b alone says how it is used", async () => {
    const got = await run("-b");
    expect(got.code).toBe(2);
    expect(got.out).toContain("usage: applypatch");
  });

  it("a description that cannot be read is not one of its results", async () => {
    writeFileSync(join(cwd, "bad.json"), "{");
    expect((await run("-c", "/x", "--device", "bad.json")).code).toBe(69);
    expect((await run("-c", "/x", "--device", "missing.json")).code).toBe(69);
  });

  it("has codes of its own for failures around an original program", () => {
    const code = (name: "USAGE" | "CANCELLED" | "DEVICE_LOCKED"): number =>
      exitCodeBesideOriginal(new OtaError(name, { what: "x" }));
    expect([code("USAGE"), code("CANCELLED"), code("DEVICE_LOCKED")]).toEqual([64, 7, 69]);
  });
});
