/** SigmaStar packages on a real kernel's flash, made by our otapack and installed by our own commands. */
import { createHash } from "node:crypto";
import { mkdirSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { noise } from "../support/sigmastar-package.ts";
import { BAD_BLOCKS, ERASE_SIZE, flashScript, makePackage } from "./flash.ts";
import { Guest } from "./guest.ts";
import { ext4Image, rawDisk, workFolder } from "./machine.ts";

const sha256 = (bytes: Uint8Array): string => createHash("sha256").update(bytes).digest("hex");
const folder = workFolder();
afterAll(() => rmSync(folder, { recursive: true, force: true }));

/** Ends inside a page of the 13th block. */
const NAND = noise(12 * ERASE_SIZE + 5000, 1);
const NOR = noise(300_000, 2);
const VOLUME = noise(700_000, 3);
/** Large enough that its update can be killed midway. */
const NEXT_VOLUME = noise(2_000_000, 4);

const packages = {
  "all.gz": makePackage(
    folder,
    "all",
    [
      { options: ["--block-update"], destination: "/dev/mtd0", content: NAND },
      { options: ["--block-update"], destination: "/dev/mtdblock4", content: NOR },
      { options: ["--ubi-update"], destination: "/dev/ubi0_0", content: VOLUME },
      { options: ["--file-update"], destination: "/customer/app.conf", content: "new settings\n" },
      { options: ["--file-add"], mode: 0o755, destination: "/customer/bin/tool", content: "#!/bin/sh\n" },
      { options: ["--file-delete"], destination: "/customer/old.log" },
    ],
    { begin: "echo begin >>/customer/scripts", end: 'echo "end $OTA_STATUS" >>/customer/scripts' },
  ),
  "plain.gz": makePackage(folder, "plain", [
    { options: ["--block-update"], destination: "/dev/mtdblock0", content: noise(5000, 9) },
  ]),
  "volume.gz": makePackage(folder, "volume", [
    { options: ["--ubi-update"], destination: "/dev/ubi0_0", content: NEXT_VOLUME },
  ]),
};

describe("a SigmaStar package on a board", () => {
  let guest: Guest;
  beforeAll(async () => {
    const customer = join(folder, "customer");
    mkdirSync(customer);
    writeFileSync(join(customer, "app.conf"), "old settings\n");
    writeFileSync(join(customer, "old.log"), "old\n");
    const disk = join(folder, "customer.ext4");
    ext4Image(disk, 16 * 1024 * 1024, customer);
    guest = await Guest.boot({
      arguments: rawDisk("customer", disk),
      files: packages,
      before: `${flashScript("2200KiB", 96)}\nmkdir /customer\nmount -t ext4 /dev/lab/customer /customer\n`,
    });
  });
  afterAll(async () => guest?.kill());

  const digests = (path: string, ranges: readonly (readonly [number, number])[]): Promise<string[]> =>
    guest.call("/lab/look.mjs", "digests", { path, ranges });
  const digest = async (path: string, length: number): Promise<string> =>
    (await digests(path, [[0, length]]))[0] as string;
  const marker = async (): Promise<string> => (await guest.sh("cat /sys/class/ubi/ubi0_0/upd_marker")).out.trim();

  test("NAND, NOR, a UBI volume and files end equal to the package; bad blocks are skipped", async () => {
    await guest.sh("node /app/bin/otaunpack -x /lab/all.gz");
    await guest.sh("umount /customer; mount -t ext4 /dev/lab/customer /customer");
    await guest.sh(`nanddump -q --bb=skipbad -l ${13 * ERASE_SIZE} -f /tmp/dump /dev/mtd0`);
    expect(await digest("/tmp/dump", NAND.length)).toBe(sha256(NAND));
    // Block by block: the content of logical block n lies on the n-th good block, and bad blocks were never programmed.
    const good = Array.from({ length: 64 }, (_, i) => i).filter((i) => !BAD_BLOCKS.includes(i));
    const parts = good.slice(0, 13).map((_, n) => NAND.subarray(n * ERASE_SIZE, (n + 1) * ERASE_SIZE));
    const places = parts.map((part, n) => [(good[n] as number) * ERASE_SIZE, part.length] as const);
    expect(await digests("/dev/mtd0", places)).toEqual(parts.map(sha256));
    const erased = sha256(new Uint8Array(ERASE_SIZE).fill(0xff));
    const bad = BAD_BLOCKS.map((n) => [n * ERASE_SIZE, ERASE_SIZE] as const);
    expect(await digests("/dev/mtd0", bad)).toEqual([erased, erased, erased]);
    expect(await digest("/dev/mtd4", NOR.length)).toBe(sha256(NOR));
    expect(await digest("/dev/mtdblock4", NOR.length)).toBe(sha256(NOR));
    expect(await digest("/dev/ubi0_0", VOLUME.length)).toBe(sha256(VOLUME));
    // The second volume that was filled first is gone, and the name is where it was.
    expect((await guest.sh("cat /sys/class/ubi/ubi0_0/name; ls /sys/class/ubi | grep -c ubi0_")).out).toBe(
      "rootfs\n1\n",
    );
    const files = await guest.sh("cd /customer; cat app.conf bin/tool scripts; stat -c %a bin/tool; ls");
    expect(files.out).toBe("new settings\n#!/bin/sh\nbegin\nend 0\n755\napp.conf\nbin\nlost+found\nscripts\n");
  });

  test("a plain block write onto NAND is refused and writes nothing", async () => {
    const before = await digest("/dev/mtd0", 64 * ERASE_SIZE);
    const result = await guest.command("otaunpack", ["-x", "/lab/plain.gz"], 6);
    expect(result.err).toContain("a plain block write onto NAND does not go around bad blocks");
    expect(result.err).toContain("/dev/mtd0");
    expect(await digest("/dev/mtd0", 64 * ERASE_SIZE)).toBe(before);
  });

  test("an update of a volume that is killed midway is finished by the same command", async () => {
    // Without room for a second volume it goes in place, and the kernel voids the volume from the first byte on.
    await guest.sh("ubimkvol /dev/ubi0 -N rest -m");
    for (const victim of ["pidof ubiupdatevol", "echo $installer"]) {
      const script = `
        node /app/bin/otaunpack -x /lab/volume.gz >/tmp/killed 2>&1 & installer=$!
        until [ "$(cat /sys/class/ubi/ubi0_0/upd_marker)" = 1 ]; do :; done
        kill -9 $(${victim}); wait $installer; echo "ended $?"; while pidof ubiupdatevol; do usleep 10000; done`;
      expect((await guest.sh(script)).out).toContain(victim.startsWith("pidof") ? "ended 6" : "ended 137");
      expect(await marker()).toBe("1");
      await guest.sh("head -c 1 /dev/ubi0_0", 1);
      await guest.sh("node /app/bin/otaunpack -x /lab/volume.gz");
      expect(await marker()).toBe("0");
      expect(await digest("/dev/ubi0_0", NEXT_VOLUME.length)).toBe(sha256(NEXT_VOLUME));
    }
  });
});
