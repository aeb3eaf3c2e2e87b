import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  readdirSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeEach, describe, expect, it } from "vitest";
import { memoryReader } from "../../core/streams.ts";
import { nodeDigests } from "../../device/index.ts";
import { mapPackage } from "../../sigmastar/index.ts";
import { captureIo, type CapturedIo } from "../io.ts";
import { runGuarded } from "../run.ts";
import { otapackMain } from "./otapack.ts";

const root = mkdtempSync(join(tmpdir(), "otapack-errors-"));
afterAll(() => rmSync(root, { recursive: true, force: true }));
let cwd = "";
let count = 0;
beforeEach(() => {
  cwd = join(root, String(count++));
  mkdirSync(cwd);
  writeFileSync(join(cwd, "k"), "kernel image");
});

async function otapack(...argv: string[]): Promise<{ code: number; io: CapturedIo }> {
  const io = captureIo({ cwd });
  return { code: await runGuarded("otapack", otapackMain, argv, io), io };
}
const bytesOf = (name: string): Buffer => readFileSync(join(cwd, name));
const put = (path: string, text: string): void => {
  mkdirSync(join(cwd, path, ".."), { recursive: true });
  writeFileSync(join(cwd, path), text);
};
async function records(name: string): Promise<string[]> {
  const map = await mapPackage(memoryReader(new Uint8Array(bytesOf(name))), nodeDigests);
  return map.records.map((r) => `${r.head.opt} ${r.head.destination} ${r.head.sourceName ?? ""}`.trim());
}
/** The last call must fail with `code` and leave the package as it was. */
async function refused(code: number, about: RegExp, ...argv: string[]): Promise<void> {
  const before = existsSync(join(cwd, "p")) ? bytesOf("p") : undefined;
  const { code: got, io } = await otapack(...argv);
  expect([argv, got, io.stderr()]).toEqual([argv, code, expect.stringMatching(about)]);
  if (before === undefined) expect(existsSync(join(cwd, "p"))).toBe(false);
  else expect(bytesOf("p").equals(before)).toBe(true);
}

describe("otapack refuses", () => {
  it("wrong command lines, with the help and exit 2", async () => {
    for (const argv of [[], ["-x"], ["--nope"], ["-a"], ["operand"], ["-s", "k"]]) {
      const { code, io } = await otapack(...argv);
      expect([argv, code]).toEqual([argv, 2]);
      expect(io.stdout()).toContain("Usage:");
    }
    expect((await otapack("--help")).code).toBe(0);
    expect((await otapack("-h")).code).toBe(2);
    await refused(2, /create and --append/, "-c", "p", "-a", "p");
    await refused(2, /generation/, "-c", "p", "--generation", "v2.0");
  });

  it("what the vendor's program lets through silently (section 5)", async () => {
    await otapack("-c", "p");
    await refused(2, /does not exist/, "-a", "p", "-s", "none", "-d", "/x", "--file-add");
    await refused(2, /source file is missing/, "-a", "p", "-d", "/x", "--file-add");
    await refused(2, /a folder/, "-a", "p", "-s", ".", "-d", "/x", "--file-add");
    await refused(2, /larger/, "-a", "p", "-s", "k", "-d", "/x", "-t", "3", "--ubi-update");
    await refused(2, /destination/, "-a", "p", "-s", "k", "--file-delete");
    for (const bad of ["500K", " 500", "-5", "rw"]) {
      await refused(2, /bad number/, "-a", "p", "-s", "k", "-d", "/x", "-t", bad, "--block-update");
      await refused(2, /bad number/, "-a", "p", "-s", "k", "-d", "/x", "-m", bad, "--block-update");
    }
    await refused(2, /does not fit/, "-a", "p", "-s", "k", "-d", "/x", "-m", "0x100000000", "--block-update");
    await refused(
      2,
      /bad number.*--default-mask/,
      "-a",
      "p",
      "-s",
      "k",
      "-d",
      "/x",
      "--default-mask",
      "-m",
      "0",
      "--file-add",
    );
    await refused(2, /too long/, "-a", "p", "-s", "k", "-d", "x".repeat(512), "--block-update");
    await refused(2, /too long/, "-a", "p", "-s", "k", "-d", "/x", "-l", "x".repeat(512), "--block-update");
    await refused(2, /another generation/, "-a", "p", "--generation", "v0.4", "-s", "k", "-d", "/x", "--block-update");
    await refused(2, /unknown option/, "-a", "p", "-s", "k", "-d", "/x", "--block-update", "--nope");
    expect(await records("p")).toEqual([]);
  });

  it("packages that are none, damaged, or followed by anything, with exit 3", async () => {
    const append = ["-a", "p", "-s", "k", "-d", "/x", "--block-update"];
    await otapack("-c", "p");
    const good = bytesOf("p");
    for (const bytes of [
      Buffer.from("plain text, and quite a lot of it"),
      Buffer.concat([good, Buffer.from("x")]),
      good.subarray(0, 100),
      Buffer.alloc(0),
      Buffer.concat([good.subarray(0, 50), Buffer.from([9]), good.subarray(51)]),
    ]) {
      writeFileSync(join(cwd, "p"), bytes);
      await refused(3, /otapack: /, ...append);
    }
  });

  it("options a generation does not have", async () => {
    await otapack("--generation", "v0.2", "-c", "p");
    await refused(2, /unknown option \(--script-add\)/, "-a", "p", "-s", "k", "-d", "x", "--script-add");
    await refused(2, /unknown option \(-l\)/, "-a", "p", "-s", "k", "-d", "/x", "-l", "log", "--block-update");
    // Unique in v0.2, ambiguous with --script-add later.
    expect((await otapack("-a", "p", "--s", "k", "-d", "/x", "--block")).code).toBe(0);
  });

  it("to leave a package behind when creating fails, or to lose the old one", async () => {
    await refused(2, /end script/, "-c", "p", "-e", "none.sh");
    put("p", "the old one");
    await refused(2, /begin script/, "-c", "p", "-b", "none.sh");
    await refused(6, /DEVICE|error|folder|EISDIR|ENOTDIR|input/i, "-c", "k/p");
    expect(readdirSync(cwd).sort()).toEqual(["k", "p"]);
  });

  it("a layout listing of a damaged package, leaving no file", async () => {
    await otapack("-c", "p");
    await otapack("-a", "p", "-s", "k", "-d", "/dev/mtd0", "--block-update");
    const whole = bytesOf("p");
    writeFileSync(join(cwd, "p"), whole.subarray(0, whole.length - 1));
    await refused(3, /ends inside/, "--out-layout", "list", "-r", "p");
    await refused(2, /both names/, "--out-layout", "list");
    await refused(2, /does not exist/, "--out-layout", "list", "-r", "q");
    expect(existsSync(join(cwd, "list"))).toBe(false);
  });
});

describe("otapack", () => {
  it("takes the generation of an append from the package, whatever the environment says", async () => {
    await otapack("-c", "p", "--generation", "v0.4");
    expect((await otapack("-a", "p", "-s", "k", "-d", "/x", "--file-add")).io.stdout()).toMatch(/^Header checksum: 0x/);
  });

  it("accepts a delete record without a source, and sizes beyond 32 bits where the field has 64", async () => {
    for (const generation of ["v0.4", "v1.6"]) {
      await otapack("-c", "p", "--generation", generation);
      expect((await otapack("-a", "p", "-d", "/x/y", "--file-delete")).code).toBe(0);
      expect((await otapack("-a", "p", "-s", "k", "-d", "/dev/x", "-t", "0x200000000", "--block")).code).toBe(0);
      const map = await mapPackage(memoryReader(new Uint8Array(bytesOf("p"))), nodeDigests);
      expect(map.records[1]?.head.destinationSize).toBe(0x200000000);
    }
  });

  it("makes single-file patches in every generation, although only v1.6 of the vendor's program does", async () => {
    put("old.bin", "x".repeat(500));
    put("new.bin", `${"x".repeat(500)}y`);
    for (const generation of ["v0.2", "v0.3", "v0.4", "v1.6"]) {
      await otapack("-c", "p", "--generation", generation);
      const files = ["-o", "old.bin", "-n", "new.bin", "-d", "/config/app", "-t", "600", "-m", "420"];
      expect((await otapack("-a", "p", ...files, "--file-update-diff")).code).toBe(0);
      const map = await mapPackage(memoryReader(new Uint8Array(bytesOf("p"))), nodeDigests);
      expect(map.records[0]?.head).toMatchObject({ opt: 5, destinationSize: 600, mode: 420 });
    }
  });

  it("warns of names with blanks in v1.6 only, whose clients split destinations there", async () => {
    put("new/a b", "1");
    mkdirSync(join(cwd, "old"));
    for (const [generation, warning] of [
      ["v0.4", ""],
      ["v1.6", "warning: a v1.6 client reads a space as the end of a destination: a b\n"],
    ] as const) {
      await otapack("-c", "p", "--generation", generation);
      const { code, io } = await otapack("-a", "p", "-o", "old", "-n", "new", "-d", "/c", "--dir-update");
      expect([code, io.stderr()]).toEqual([0, warning]);
    }
  });

  it("prints every mask token, and the fields with --debug", async () => {
    await otapack("-c", "p");
    const masks = ["--default-mask", " 1  0xFFFFFFFF ", "--debug"];
    const { io } = await otapack("-a", "p", "-s", "k", "-d", "/a /b", ...masks, "--file-add");
    expect(io.stdout()).toMatch(/^Def Mask: 0x1\nDef Mask: 0xffffffff\nRecord 0\n/);
    expect(io.stdout()).toContain("dstFilePath");
  });

  it("follows links of sources, keeping the link's name, and replaces a package keeping its mode", async () => {
    put("real.bin", "12345");
    chmodSync(join(cwd, "real.bin"), 0o640);
    symlinkSync("real.bin", join(cwd, "link"));
    await otapack("-c", "p");
    chmodSync(join(cwd, "p"), 0o600);
    await otapack("-c", "p");
    expect(statSync(join(cwd, "p")).mode & 0o777).toBe(0o600);
    await otapack("-a", "p", "-s", "link", "-d", "/x", "--file-add");
    const map = await mapPackage(memoryReader(new Uint8Array(bytesOf("p"))), nodeDigests);
    expect(map.records[0]?.head).toMatchObject({ sourceName: "link", mode: 0o100640, fileSize: 5 });
  });

  it("skips names beginning with a dot and says so, and takes folders in byte order of names", async () => {
    put("old/.git/config", "1");
    put("new/.git/config", "2");
    put("new/.x", "2");
    for (const name of ["b", "a/z", "a.txt", "a-b", "Z"]) put(`new/${name}`, name);
    mkdirSync(join(cwd, "new/empty"));
    await otapack("-c", "p");
    const { code, io } = await otapack("-a", "p", "-o", "old", "-n", "new", "-d", "/config/", "--dir-update");
    expect([code, io.stderr()]).toEqual([0, expect.stringMatching(/warning: 3 names beginning with a dot skipped/)]);
    expect(await records("p")).toEqual([
      "3 /config//Z Z",
      "3 /config//a/z z",
      "3 /config//a-b a-b",
      "3 /config//a.txt a.txt",
      "3 /config//b b",
    ]);
  });

  it("warns when a file becomes a folder, and falls back to whole files for empty ones", async () => {
    put("old/x", "file");
    put("new/x/y", "folder now");
    put("old/e", "");
    put("new/e", "filled");
    put("old/f", "filled");
    put("new/f", "");
    await otapack("-c", "p");
    const { code, io } = await otapack("-a", "p", "-o", "old", "-n", "new", "-d", "/c", "--dir-update-diff");
    expect([code, io.stderr()]).toEqual([0, expect.stringContaining("a file became a folder")]);
    expect(io.stderr()).toContain("is empty");
    expect(await records("p")).toEqual(["2 /c/e e", "2 /c/f f", "3 /c/x/y y", "4 /c/x x"]);
  });

  it("leaves the package as it was when a folder operation fails half way", async () => {
    put("old/a", "1");
    put("new/a", "2");
    put("new/b", "3");
    await otapack("-c", "p");
    symlinkSync("nowhere", join(cwd, "new/z"));
    await refused(2, /leads nowhere/, "-a", "p", "-o", "old", "-n", "new", "--dir-update");
    rmSync(join(cwd, "new/z"));
    symlinkSync("..", join(cwd, "new/z"));
    await refused(2, /leads back/, "-a", "p", "-o", "old", "-n", "new", "--dir-update");
    rmSync(join(cwd, "new/z"));
    put("old/w", "x".repeat(4096));
    const ext4 = Buffer.alloc(4096);
    ext4.writeUInt16LE(0xef53, 1080);
    writeFileSync(join(cwd, "old/w"), ext4);
    put("new/w", "y");
    await refused(2, /writable ext2\/3\/4 image/, "-a", "p", "-o", "old", "-n", "new", "--dir-update-diff");
    await refused(2, /two folders/, "-a", "p", "-o", "old", "--dir-update");
    await refused(2, /two folders/, "-a", "p", "-o", "old", "-n", "k", "--dir-update");
  });

  it("stops on the user's wish with exit 7 and the package as it was", async () => {
    await otapack("-c", "p");
    const before = bytesOf("p");
    const controller = new AbortController();
    controller.abort();
    const io = { ...captureIo({ cwd }), signal: controller.signal };
    const argv = ["-a", "p", "-s", "k", "-d", "/x", "--block-update"];
    expect(await runGuarded("otapack", otapackMain, argv, io)).toBe(7);
    expect(bytesOf("p").equals(before)).toBe(true);
  });
});
