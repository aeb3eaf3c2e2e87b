/** The laboratory's SigmaStar board: NAND with bad blocks, a NOR partition, a UBI device, an ext4 file system. */
import { execFileSync } from "node:child_process";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

export const ERASE_SIZE = 128 * 1024;
/** Bad erase blocks of `/dev/mtd0`; nandsim counts over the whole chip, of which mtd0 is the first partition. */
export const BAD_BLOCKS = [3, 7, 40];

/**
 * `/dev/mtd0`: 64 blocks of NAND, three of them bad; `/dev/mtd1`: `ubiBlocks` blocks with a UBI device (some
 * 24 of them are kept back), of which `/dev/ubi0_0` ("rootfs") takes `volume` bytes; `/dev/mtd4` and its `/dev/mtdblock4`: 1 MiB of NOR.
 */
export function flashScript(volume: string, ubiBlocks = 48): string {
  return `
modprobe nandsim first_id_byte=0xec second_id_byte=0xa1 third_id_byte=0x00 fourth_id_byte=0x15 \\
  badblocks=${BAD_BLOCKS.join(",")} parts=64,${ubiBlocks},64
modprobe mtdram total_size=1024 erase_size=64
modprobe mtdblock
modprobe ubi
test "$(cat /sys/class/mtd/mtd4/name)" = "mtdram test device"
ubiformat -q -y /dev/mtd1
ubiattach -m 1 -d 0 >/dev/null
ubimkvol /dev/ubi0 -N rootfs -s ${volume} >/dev/null
`;
}

const OTAPACK = fileURLToPath(new URL("../../bin/otapack", import.meta.url));

export interface LabRecord {
  /** Options of otapack but for the source and the destination: `["--block-update", "-t", "0x100000"]`. */
  readonly options: readonly string[];
  readonly destination: string;
  readonly content?: Uint8Array | string;
  /** Mode of the source file, which an added file gets. */
  readonly mode?: number;
}

/** Makes `NAME.bin.gz` in `folder` with our own otapack, as a release engineer would. */
export function makePackage(
  folder: string,
  name: string,
  records: readonly LabRecord[],
  scripts: { readonly begin?: string; readonly end?: string } = {},
): Uint8Array {
  const file = join(folder, `${name}.bin`);
  const pack = (args: readonly string[]): void =>
    void execFileSync(process.execPath, [OTAPACK, ...args], { cwd: folder });
  const script = (kind: "begin" | "end"): string[] => {
    const text = scripts[kind];
    if (text === undefined) return [];
    writeFileSync(join(folder, `${kind}.sh`), text);
    return [kind === "begin" ? "-b" : "-e", `${kind}.sh`];
  };
  pack(["-c", file, ...script("begin"), ...script("end")]);
  for (const [i, { options, destination, content, mode = 0o644 }] of records.entries()) {
    const source = join(folder, `${name}-${i}`);
    if (content !== undefined) writeFileSync(source, content, { mode });
    pack(["-a", file, ...(content === undefined ? [] : ["-s", source]), "-d", destination, ...options]);
  }
  execFileSync("gzip", ["-n", "-f", file]);
  return readFileSync(`${file}.gz`);
}
