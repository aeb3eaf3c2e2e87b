import { existsSync, mkdtempSync, readFileSync, realpathSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, describe, expect, test } from "vitest";
import { concatBytes, encodeText, isAllByte, isOtaError, toHex } from "../../core/index.ts";
import type { BlockTarget } from "../../core/index.ts";
import { runProgram } from "../run-program.ts";
import type { RunProgram } from "../run-program.ts";
import { majorMinor } from "../sysfs.ts";
import { capabilityAttribute } from "./board-labels.ts";
import { boardMounts, parseMounts } from "./board-mounts.ts";
import { openMtd } from "./mtd-tools.ts";

const folders: string[] = [];
afterEach(() => {
  for (const folder of folders.splice(0)) rmSync(folder, { recursive: true, force: true });
});
const scratch = (): string => {
  const folder = mkdtempSync(join(tmpdir(), "otaforge-board-"));
  folders.push(folder);
  return folder;
};
const code = async (work: Promise<unknown> | undefined): Promise<string> =>
  (work ?? Promise.resolve()).then(
    () => "ok",
    (e: unknown) => (isOtaError(e) ? e.code : String(e)),
  );

const ERASE = 131072;
const PAGE = 2048;
const BAD = 2;

/** What mtd-utils do to a chip of six blocks, of which one is bad, kept in a file. */
function fakeChip(): { file: string; run: RunProgram; calls: string[] } {
  const file = join(scratch(), "mtd4");
  const chip = new Uint8Array(6 * ERASE).fill(0x55);
  writeFileSync(file, chip);
  const calls: string[] = [];
  const done = (stdout = "", stderr = "", exitCode = 0) => ({ exitCode, stdout: encodeText(stdout), stderr });
  const run: RunProgram = async (program, args, options) => {
    calls.push([program, ...args].join(" ").replace(file, "DEV"));
    const input: Uint8Array[] = [];
    for await (const part of options?.input ?? []) input.push(part);
    const number = (flag: string): number => Number(args[args.indexOf(flag) + 1]);
    if (program === "mtdinfo") {
      const cells = Array.from({ length: 6 }, (_, n) => {
        const at = (n * ERASE).toString(16).padStart(8, "0");
        return `  ${n}: ${at}    ${n === BAD ? "BAD" : "   "} `;
      });
      return done(`mtd4\nType: nand\nEraseblock map:\n${cells.join("")}\n`);
    }
    if (program === "flash_erase") chip.fill(0xff, Number(args[2]), Number(args[2]) + Number(args[3]) * ERASE);
    if (program === "nandwrite") {
      const bytes = concatBytes(...input);
      if (bytes[0] === 0xee) return done("", "libmtd: error!: cannot write\nErasing failed write from 0x0 to 0x1ffff");
      chip.set(bytes, number("-s"));
    }
    writeFileSync(file, chip);
    return done();
  };
  return { file, run, calls };
}

const open = (chip: { file: string; run: RunProgram }, kind: "nand" | "nor" = "nand"): Promise<BlockTarget> =>
  openMtd(
    { name: "mtd4", kind, size: 6 * ERASE, eraseSize: ERASE, writeSize: kind === "nand" ? PAGE : 1 },
    "/dev/mtd4",
    "write",
    chip.run,
    chip.file,
  );

describe("flash of a board", () => {
  test("NAND is erased and written by mtd-utils at exactly the place that was meant", async () => {
    const chip = fakeChip();
    const target = await open(chip);
    await target.erase?.(ERASE, ERASE);
    await target.write(ERASE + PAGE, new Uint8Array(PAGE).fill(9));
    expect(isAllByte(await target.read(ERASE + PAGE, PAGE), 9)).toBe(true);
    await target.close();
    expect(chip.calls).toEqual([
      `mtdinfo -M DEV`,
      `flash_erase -q DEV ${ERASE} 1`,
      `nandwrite -q -N -s ${ERASE + PAGE} DEV -`,
    ]);
  });

  test("bad blocks are found and refused, half pages and blocks too", async () => {
    const chip = fakeChip();
    const target = await open(chip);
    expect([await target.isBad?.(BAD * ERASE + 7), await target.isBad?.(0)]).toEqual([true, false]);
    expect(await code(target.erase?.(ERASE, 2 * ERASE))).toBe("DEVICE_BAD_BLOCK");
    expect(await code(target.write(BAD * ERASE, new Uint8Array(PAGE)))).toBe("DEVICE_BAD_BLOCK");
    expect(await code(target.write(10, new Uint8Array(PAGE)))).toBe("DEVICE_NOT_ERASED");
    expect(await code(target.write(6 * ERASE, new Uint8Array(PAGE)))).toBe("DEVICE_TOO_SMALL");
    expect(chip.calls.some((call) => call.startsWith("flash_erase") || call.startsWith("nandwrite"))).toBe(false);
    await target.close();
  });

  test("a write that nandwrite moved to another block is an error although it ends with success", async () => {
    const target = await open(fakeChip());
    expect(await code(target.write(0, new Uint8Array(PAGE).fill(0xee)))).toBe("DEVICE_IO");
    await target.close();
  });

  test("NOR is erased by flash_erase and written through its node", async () => {
    const chip = fakeChip();
    const target = await open(chip, "nor");
    await target.erase?.(0, ERASE);
    await target.write(100, Uint8Array.of(1, 2, 3));
    await target.flush();
    await target.close();
    expect(readFileSync(chip.file).subarray(99, 104).join()).toBe("255,1,2,3,255");
    expect(chip.calls).toEqual([`flash_erase -q DEV 0 1`]);
  });
});

describe("small readings", () => {
  test("device numbers are taken apart as Linux packs them", () => {
    expect(majorMinor(0x5a08)).toEqual({ major: 90, minor: 8 });
    expect(majorMinor(0x10fd34)).toEqual({ major: 0xfd, minor: 0x134 });
  });

  test("mount lines with spaces and options", () => {
    const text = "/dev/mtdblock5 /a\\040b squashfs ro,relatime 0 0\nubi0:data /data ubifs rw,sync 0 0\n\n";
    expect(parseMounts(text)).toEqual([
      { node: "/dev/mtdblock5", at: "/a b", fsType: "squashfs", readOnly: true },
      { node: "ubi0:data", at: "/data", fsType: "ubifs", readOnly: false },
    ]);
  });

  test("mounting starts programs with an argument list and understands what they say", async () => {
    const calls: string[][] = [];
    const run: RunProgram = async (program, args) => {
      calls.push([program, ...args]);
      return { exitCode: 32, stdout: new Uint8Array(0), stderr: "umount: /a: target is busy." };
    };
    const file = join(scratch(), "mounts");
    writeFileSync(file, "/dev/x /a ext4 rw 0 0\n");
    const mounts = boardMounts(run, file);
    await mounts.mount("/dev/x", "/a", { fsType: "ext4" });
    expect(await code(mounts.unmount("/a"))).toBe("DEVICE_BUSY");
    expect(await code(mounts.unmount("/b"))).toBe("DEVICE_NOT_FOUND");
    await code(mounts.mount("-o x; rm", "/c", { fsType: "ext4", flags: "ro" }));
    expect(calls).toEqual([
      ["umount", "--", "/a"],
      ["mount", "-t", "ext4", "-o", "ro", "--", "-o x; rm", "/c"],
    ]);
  });

  test("a node that is named by a link is the one the kernel shows", async () => {
    const folder = scratch();
    const [file, link] = [join(folder, "mounts"), join(folder, "by-name")];
    writeFileSync(join(folder, "p5"), "");
    symlinkSync(join(folder, "p5"), link);
    writeFileSync(file, `${realpathSync(join(folder, "p5"))} /system ext4 rw 0 0\n`);
    const mounts = boardMounts(async () => expect.unreachable(), file);
    await mounts.mount(link, "/system", { fsType: "ext4" });
    expect(await code(mounts.format?.(link, { fsType: "ext4" }) as Promise<void>)).toBe("DEVICE_BUSY");
    writeFileSync(file, readFileSync(file, "utf8").replace(" rw ", " ro "));
    expect(await code(mounts.mount(link, "/system", { fsType: "ext4" }))).toBe("DEVICE_READ_ONLY");
    await mounts.mount(link, "/system", { fsType: "ext4", flags: "noatime,ro" });
  });

  test("a file system is made as large as it is asked for, with a negative size all but the end of its node", async () => {
    const calls: string[] = [];
    const run: RunProgram = async (program, args) => {
      calls.push([program, ...args].join(" "));
      return { exitCode: 0, stdout: new Uint8Array(0), stderr: "" };
    };
    const mounts = boardMounts(run, join(scratch(), "none"), async () => 1 << 20);
    await mounts.format?.("/dev/d", { fsType: "ext4" });
    await mounts.format?.("/dev/d", { fsType: "ext4", sizeBytes: 65536 });
    await mounts.format?.("/dev/d", { fsType: "ext4", sizeBytes: -16384 });
    await mounts.format?.("/dev/d", { fsType: "f2fs", sizeBytes: -16384 });
    expect(await code(mounts.format?.("/dev/d", { fsType: "ext4", sizeBytes: -(1 << 20) }) as Promise<void>)).toBe(
      "DEVICE_TOO_SMALL",
    );
    expect(calls).toEqual([
      "mkfs.ext4 -F -- /dev/d",
      "mkfs.ext4 -F -- /dev/d 64k",
      "mkfs.ext4 -F -- /dev/d 1008k",
      "mkfs.f2fs -f -- /dev/d 2016",
    ]);
  });

  test("capabilities as the kernel stores them", () => {
    // CAP_NET_RAW (13) and CAP_SYSLOG (34).
    expect(toHex(capabilityAttribute((1n << 13n) | (1n << 34n)))).toBe("0100000200200000000000000400000000000000");
  });
});

describe("programs", () => {
  test("a missing one is told, a failing one gives its exit code, a killed one its signal", async () => {
    expect(await code(runProgram("otaforge-no-such-program", []))).toBe("DEVICE_TOOL_MISSING");
    expect((await runProgram("sh", ["-c", "echo out; echo err >&2; exit 3"])).exitCode).toBe(3);
    expect((await runProgram("sh", ["-c", "kill -TERM $$"])).exitCode).toBe(143);
  });

  test("input that fails kills the program", async () => {
    const folder = scratch();
    const input = async function* (): AsyncGenerator<Uint8Array> {
      yield encodeText("half");
      throw new Error("the package is damaged");
    };
    const script = `cat > "$0"; echo whole >> "$0"`;
    const work = runProgram("sh", ["-c", script, join(folder, "out")], { input: input() });
    expect(await code(work)).toBe("Error: the package is damaged");
    const out = join(folder, "out");
    expect(existsSync(out) ? readFileSync(out, "utf8") : "").not.toContain("whole");
  });

  test("a program that does not read its input is not waited for", async () => {
    const input = async function* (): AsyncGenerator<Uint8Array> {
      for (let i = 0; i < 100; i++) yield new Uint8Array(65536);
    };
    expect((await runProgram("true", [], { input: input() })).exitCode).toBe(0);
  });
});
