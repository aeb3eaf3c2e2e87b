/**
 * A real boot loader (Debian's U-Boot for QEMU's arm64 board) that chooses a slot from version blocks as a K230's does, with a
 * trial counter on top: the blocks are ours, written by our code, and what the loader picks is what ours says it would pick.
 */
import { execFileSync } from "node:child_process";
import { closeSync, existsSync, openSync, readSync, rmSync, writeFileSync, writeSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { chooseSlot, decodeMetaPair, encodeMetaBlock } from "../../src/k230/index.ts";
import { report } from "./counts.ts";
import { emptyFile, spawnMachine, workFolder } from "./machine.ts";

const U_BOOT = "/usr/lib/u-boot/qemu_arm64/u-boot.bin";
const SECTOR = 512;
const PARTITION = 1024 * 1024;
/** Sectors of block A, block B and the trial counter, before the first partition. */
const SECTORS = { a: 256, b: 257, tries: 258 } as const;

/**
 * The loader's script. A version block: magic "VATO" (0x4f544156) and the version, 32 bits each, little endian. The counter's
 * sector: magic "TRY1" (0x31595254), tries left, health (1: the system said that it works).
 */
const SCRIPT = `
setenv m 0x41000000
mw.b \${m} 0 0x600
virtio read \${m} 0x${SECTORS.a.toString(16)} 3
setenv slot a; setenv other b
if itest.l *0x41000200 == 0x4f544156; then
  if itest.l *\${m} != 0x4f544156; then setenv slot b; setenv other a; fi
  if itest.l *0x41000204 > *0x41000004; then setenv slot b; setenv other a; fi
fi
if itest.l *0x41000400 == 0x31595254; then
  if itest.l *0x41000408 == 0; then
    if itest.l *0x41000404 == 0; then
      echo LAB: fallback from \${slot}
      setenv slot \${other}
    else
      setexpr.l tries *0x41000404 - 1
      mw.l 0x41000404 0x\${tries}
      virtio write 0x41000400 0x${SECTORS.tries.toString(16)} 1
      echo LAB: trial, left 0x\${tries}
    fi
  fi
fi
echo LAB: slot \${slot}
poweroff
`;

const folder = workFolder();
const disk = join(folder, "disk.img");
afterAll(() => rmSync(folder, { recursive: true, force: true }));

function put(sector: number, bytes: Uint8Array): void {
  const file = openSync(disk, "r+");
  const whole = new Uint8Array(SECTOR);
  whole.set(bytes.subarray(0, SECTOR));
  writeSync(file, whole, 0, SECTOR, sector * SECTOR);
  closeSync(file);
}

function get(sector: number): Uint8Array {
  const file = openSync(disk, "r");
  const bytes = new Uint8Array(SECTOR);
  readSync(file, bytes, 0, SECTOR, sector * SECTOR);
  closeSync(file);
  return bytes;
}

function counter(tries: number, health: number): Uint8Array {
  const bytes = Buffer.alloc(12);
  bytes.write("TRY1", "latin1");
  bytes.writeUInt32LE(tries, 4);
  bytes.writeUInt32LE(health, 8);
  return bytes;
}

const triesLeft = (): number => Buffer.from(get(SECTORS.tries)).readUInt32LE(4);
const ourChoice = (): string => chooseSlot(decodeMetaPair(get(SECTORS.a), get(SECTORS.b)));

/** One start; gives the loader's lines that begin with LAB. */
async function start(): Promise<string[]> {
  const args = [
    ...["-machine", "virt,accel=tcg", "-cpu", "cortex-a57", "-m", "128", "-display", "none", "-serial", "stdio"],
    ...["-monitor", "none", "-nodefaults", "-no-reboot", "-bios", U_BOOT],
    ...["-drive", `if=none,id=d,file=${disk},format=raw`, "-device", "virtio-blk-device,drive=d"],
  ];
  const child = spawnMachine("qemu-system-aarch64", args);
  let output = "";
  const limit = setTimeout(() => child.kill("SIGKILL"), 300_000);
  const ended = new Promise<void>((resolve, reject) => {
    child.on("error", reject);
    child.on("close", () => resolve());
  });
  const take = (chunk: Buffer): void => {
    output += chunk.toString("latin1");
    // The board may have no way to switch itself off: the last line is the end.
    if (/^LAB: slot [ab]\r?$/m.test(output)) child.kill("SIGKILL");
  };
  child.stdout?.on("data", take);
  child.stderr?.on("data", take);
  await ended;
  clearTimeout(limit);
  const said = output.split(/\r?\n/).filter((line) => line.startsWith("LAB: "));
  if (!said.some((line) => line.startsWith("LAB: slot")))
    throw new Error(`U-Boot did not choose:\n${output.slice(-3000)}`);
  return said.map((line) => line.slice(5));
}

describe("U-Boot chooses between two slots", () => {
  beforeAll(() => {
    expect(existsSync(U_BOOT), "apt-get install u-boot-qemu").toBe(true);
    emptyFile(disk, 16 * 1024 * 1024);
    execFileSync("sfdisk", ["-q", disk], { input: "label: dos\nstart=2048, type=c, bootable\n" });
    execFileSync("mkfs.vfat", ["--offset", String(PARTITION / SECTOR), disk, String(15 * 1024)], { stdio: "pipe" });
    writeFileSync(join(folder, "boot.cmd"), SCRIPT);
    const script = join(folder, "boot.scr");
    execFileSync("mkimage", ["-A", "arm64", "-T", "script", "-C", "none", "-d", join(folder, "boot.cmd"), script], {
      stdio: "pipe",
    });
    execFileSync("mcopy", ["-i", `${disk}@@${PARTITION}`, script, "::boot.scr"]);
  });

  test("five starts: two trials of the new slot, the fall back, the old slot again, and the new one once it is healthy", async () => {
    put(SECTORS.a, encodeMetaBlock(1));
    put(SECTORS.b, encodeMetaBlock(2));
    put(SECTORS.tries, counter(2, 0));
    expect(ourChoice()).toBe("b");
    expect(await start()).toEqual(["trial, left 0x1", "slot b"]);
    expect(await start()).toEqual(["trial, left 0x0", "slot b"]);
    expect(triesLeft()).toBe(0);
    expect(await start()).toEqual(["fallback from b", "slot a"]);
    // The update is taken back for good, as `otaforge` does it: the other block gets the higher version, in one sector.
    put(SECTORS.a, encodeMetaBlock(3));
    put(SECTORS.tries, counter(0, 1));
    expect(ourChoice()).toBe("a");
    expect(await start()).toEqual(["slot a"]);
    // A later update whose system says that it works.
    put(SECTORS.b, encodeMetaBlock(4));
    put(SECTORS.tries, counter(2, 1));
    expect(ourChoice()).toBe("b");
    expect(await start()).toEqual(["slot b"]);
    report("U-Boot: 5 starts, each as our code says");
  });
});
