import { access, mkdir, mkdtemp, readFile, readdir, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { gzipSync } from "node:zlib";
import { PNG } from "pngjs";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { makeBsdiff40 } from "../../delta/index.ts";
import { newPicture } from "../../device/canvas.ts";
import { packRect } from "../../device/pixel-format.ts";
import { FIRST_PROGRESS, openScreen, PROGRESS_STATE } from "../../sigmastar/index.ts";
import { noise, testPackage } from "../../../test/support/sigmastar-package.ts";
import { captureIo } from "../io.ts";
import { runGuarded } from "../run.ts";
import { otaunpackMain } from "./otaunpack.ts";

let folder: string;
const at = (...parts: string[]): string => join(folder, ...parts);

const OLD_APP = noise(5000, 1);
const NEW_APP = OLD_APP.map((b, i) => (i % 500 === 0 ? b ^ 0xff : b));

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "otaunpack-"));
  await mkdir(at("root", "bin"), { recursive: true });
  await mkdir(at("work"));
  await writeFile(at("root", "bin", "app"), OLD_APP, { mode: 0o755 });
  await writeFile(at("root", "old.conf"), "old");
  await writeFile(at("kernel.img"), noise(8192, 2));
  await writeFile(at("base.img"), OLD_APP);
  await writeFile(at("nand.img"), noise(8 * 4096, 3));
  await writeFile(at("vol.ubifs"), noise(3000, 4));
  await writeFile(
    at("DEVICE.json"),
    JSON.stringify({
      family: "sigmastar",
      root: "root",
      nodes: {
        "/dev/mtd4": { file: "kernel.img", kind: "block", size: 8192 },
        "/dev/mtd6": { file: "base.img", kind: "block", size: 6000 },
        "/dev/mtd7": { file: "nand.img", kind: "nand", eraseSize: 4096, writeSize: 512, badBlocks: [1] },
        "/dev/ubi0_1": { file: "vol.ubifs", kind: "ubi", size: 4096 },
      },
    }),
  );
});
afterEach(() => rm(folder, { recursive: true, force: true }));

const PACKAGE = testPackage({
  begin: "echo begin",
  end: "echo end",
  records: [
    { operation: "BLK_UPDATE", destination: "/dev/mtd4", payload: noise(6000, 12) },
    { operation: "BLK_UPDATE", destination: "/dev/mtd7", payload: noise(9000, 13) },
    { operation: "UBI_UPDATE", destination: "/dev/ubi0_1", payload: noise(3500, 14) },
    { operation: "FILE_DIFF", destination: "/dev/mtd6", payload: makeBsdiff40(OLD_APP, NEW_APP) },
    { operation: "FILE_DIFF", destination: "/bin/app", payload: makeBsdiff40(OLD_APP, NEW_APP) },
    { operation: "FILE_UPDATE", destination: "/old.conf", payload: "new" },
    { operation: "FILE_ADD", destination: "/$(touch${IFS}x)/f", payload: "added", mode: 0o100600 },
    { operation: "SCRIPT_EXEC", destination: "env.sh", payload: "fw_setenv" },
  ],
});

async function otaunpack(...argv: string[]) {
  const io = captureIo({ cwd: folder });
  const code = await runGuarded("otaunpack", otaunpackMain, argv, io);
  return { code, out: io.stdout(), err: io.stderr() };
}

async function bytes(...path: string[]): Promise<Uint8Array> {
  return new Uint8Array(await readFile(at(...path)));
}

describe("otaunpack", () => {
  it.each([[], ["-q"], ["-t", "work"], ["-x"], ["-x", "a", "-r", "b"]])(
    "prints the help and ends with 255 (%j)",
    async (...argv) => {
      const { code, out } = await otaunpack(...argv);
      expect(code).toBe(255);
      expect(out).toMatch(/^Usage: otaunpack -x FILE/);
    },
  );

  it("prints the help and ends with 0 when asked for it", async () => {
    expect(await otaunpack("--help")).toMatchObject({ code: 0, err: "" });
  });

  it.each(["-r", "-x"])("installs a package on an image device (%s)", async (option) => {
    await writeFile(at("p.bin"), option === "-x" ? gzipSync(PACKAGE) : PACKAGE);
    const { code, out, err } = await otaunpack(
      option,
      "p.bin",
      "-t",
      "work",
      "--device",
      "DEVICE.json",
      "--progress",
      "none",
    );
    expect([code, err]).toEqual([0, expect.stringContaining("unsigned")]);
    expect(out).toContain("installed: 8 of 8 targets");
    expect((await bytes("kernel.img")).subarray(0, 6000)).toEqual(noise(6000, 12));
    const nand = await bytes("nand.img");
    expect(nand.subarray(0, 4096)).toEqual(noise(9000, 13).subarray(0, 4096));
    expect(nand.subarray(8192, 12_288)).toEqual(noise(9000, 13).subarray(4096, 8192));
    expect((await bytes("vol.ubifs")).subarray(0, 3500)).toEqual(noise(3500, 14));
    expect((await bytes("base.img")).subarray(0, 5000)).toEqual(NEW_APP);
    expect(await bytes("root", "bin", "app")).toEqual(NEW_APP);
    expect(await readFile(at("root", "old.conf"), "utf8")).toBe("new");
    expect(await readFile(at("root", "$(touch${IFS}x)", "f"), "utf8")).toBe("added");
    expect(await readdir(at("work"))).toEqual([]);
    await expect(access(at("x"))).rejects.toThrow();
  });

  it("prints the result as JSON and nothing else", async () => {
    await writeFile(at("p.bin"), PACKAGE);
    const { code, out } = await otaunpack(
      "-r",
      "p.bin",
      "-t",
      "work",
      "--device",
      "DEVICE.json",
      "--json",
      "--progress",
      "none",
    );
    expect(code).toBe(0);
    expect(JSON.parse(out)).toMatchObject({ outcome: "installed", signature: "unsigned", generation: "v1.6" });
  });

  it("prints the vendor's progress lines when asked for them", async () => {
    await writeFile(at("p.bin"), PACKAGE);
    const { err } = await otaunpack("-r", "p.bin", "-t", "work", "--device", "DEVICE.json", "--progress", "vendor");
    expect(err).toMatch(/^\(0%\)\(0\/8\)\(state sub 0\)$/m);
    expect(err).toMatch(/^\(100%\)\(8\/8\)\(state sub 100\)$/m);
  });

  it.each([
    ["a package with differences and no -t", ["-r", "p.bin"], 2, /-t DIR/],
    ["a -t folder that is not there", ["-r", "p.bin", "-t", "nowhere"], 6, /folder for differences/],
    ["a plain package as -x", ["-x", "p.bin", "-t", "work"], 2, /Use -r/],
    ["a compressed package as -r", ["-r", "p.gz", "-t", "work"], 2, /Use -x/],
    ["a file that is not there", ["-r", "none", "-t", "work"], 6, /none/],
    ["garbage", ["-r", "garbage", "-t", "work"], 3, /no SigmaStar package/],
    ["compressed garbage", ["-x", "garbage.gz", "-t", "work"], 3, /no SigmaStar package/],
    ["an unknown picture", ["-r", "p.bin", "-t", "work", "-p", "garbage"], 3, /picture/],
    [
      "an unknown screen size",
      ["-r", "p.bin", "-t", "work", "--screen", "fb", "--screen-size", "big"],
      2,
      /WIDTHxHEIGHT/,
    ],
  ] as const)("refuses %s", async (_, argv, code, message) => {
    await writeFile(at("p.bin"), PACKAGE);
    await writeFile(at("p.gz"), gzipSync(PACKAGE));
    await writeFile(at("garbage"), noise(2000, 99));
    await writeFile(at("garbage.gz"), gzipSync(noise(2000, 99)));
    const before = await bytes("kernel.img");
    const result = await otaunpack(...argv, "--device", "DEVICE.json", "--progress", "none");
    expect(result.err).toMatch(message);
    expect(result.code).toBe(code);
    expect(await bytes("kernel.img")).toEqual(before);
  });

  it("paints background, bars and texts on a plain file, and red after a failure", async () => {
    const png = new PNG({ width: 10, height: 10 });
    for (let i = 0; i < 100; i++) png.data.set([10, 60, 90, 255], 4 * i);
    await writeFile(at("back.png"), PNG.sync.write(png));
    await writeFile(at("p.bin"), PACKAGE);
    await writeFile(
      at("bad.bin"),
      PACKAGE.map((b, i) => (i === 3000 ? b ^ 1 : b)),
    );
    const screen = ["-p", "back.png", "--screen", "fb.raw", "--screen-size", "320x240", "--screen-depth", "16"];
    const common = ["-t", "work", "--device", "DEVICE.json", "--progress", "none", ...screen];

    const expected = async (progress: object): Promise<Uint8Array> => {
      const surface = { width: 320, height: 240, show: async () => {}, close: async () => {} };
      const drawn = await openScreen(surface, { background: newPicture(10, 10, 0xff0a3c5a) });
      await drawn.show({ ...FIRST_PROGRESS, ...progress });
      return packRect(drawn.picture, { x: 0, y: 0, width: 320, height: 240 }, { depth: 16, order: "rgb" });
    };
    const failed = await otaunpack("-r", "bad.bin", ...common);
    expect(failed.code).toBe(3);
    const message = failed.err.replace(/^(.*\n)*otaunpack: /, "").trim();
    const at16 = await bytes("fb.raw");
    const red = await expected({ state: PROGRESS_STATE.verifyFailed, message, totalSteps: 8, subPercent: 100 });
    // How far the check came is not the point: the bars are red from end to end of what they show.
    expect(at16.length).toBe(red.length);
    expect([...at16.subarray((185 * 320 + 70) * 2, (185 * 320 + 70) * 2 + 2)]).toEqual([0x00, 0xf8]);

    expect((await otaunpack("-r", "p.bin", ...common)).code).toBe(0);
    const done = { state: PROGRESS_STATE.done, mainPercent: 100, subPercent: 100, totalSteps: 8, currentStep: 8 };
    expect(await bytes("fb.raw")).toEqual(await expected(done));
  });

  it("goes on without a screen that is not there", async () => {
    await writeFile(at("p.bin"), PACKAGE);
    const png = new PNG({ width: 10, height: 10 });
    await writeFile(at("back.png"), PNG.sync.write(png));
    const { code, err } = await otaunpack(
      "-r",
      "p.bin",
      "-t",
      "work",
      "-p",
      "back.png",
      "--device",
      "DEVICE.json",
      "--progress",
      "none",
    );
    expect([code, err]).toEqual([0, expect.stringContaining("no screen")]);
  });
});
