/**
 * Runs inside the laboratory's machine: power cuts that the kernel's UBI emulates (debugfs `tst_emulate_power_cut`), each
 * followed by a detach and attach as by a restart, and by the same command run again.
 */
import { Buffer } from "node:buffer";
import { spawnSync } from "node:child_process";
import { existsSync, openSync, closeSync, readFileSync, readSync, writeFileSync } from "node:fs";
import { createHash } from "node:crypto";
import { command } from "./commands.mjs";

const DEBUG = "/sys/kernel/debug/ubi/ubi0/tst_emulate_power_cut";
/** Erase counter and volume identifier headers: both kinds of write at which UBI cuts. */
const BOTH_HEADERS = 3;

const sys = (name) => readFileSync(`/sys/class/ubi/${name}`, "utf8").trim();

function tool(program, ...args) {
  const { status, stderr } = spawnSync(program, args, { encoding: "utf8" });
  if (status !== 0) throw new Error(`${program} ${args.join(" ")}: ${status} ${stderr}`);
}

function digest(path, length) {
  const file = openSync(path, "r");
  try {
    const bytes = Buffer.alloc(length);
    let have = 0;
    for (let n = 1; have < length && n > 0; have += n) n = readSync(file, bytes, have, length - have, have);
    return createHash("sha256").update(bytes.subarray(0, have)).digest("hex");
  } catch (e) {
    return e.code; // a volume whose update was cut cannot be read
  } finally {
    closeSync(file);
  }
}

/** Digest of the volume called "rootfs", whichever number it has: whoever mounts by name finds that one. */
function named(length) {
  for (let id = 0; id < 4; id++) {
    if (existsSync(`/sys/class/ubi/ubi0_${id}`) && sys(`ubi0_${id}/name`) === "rootfs")
      return digest(`/dev/ubi0_${id}`, length);
  }
  return "no such volume";
}

/** What is there: digests of the node and of the volume that carries the name, and which volumes there are. */
export function look({ length }) {
  return { node: digest("/dev/ubi0_0", length), named: named(length), volumes: volumes() };
}

/** One install cut after `operations` header writes, and the restart. Gives how it ended and what is there then. */
export async function cut({ args, operations, length }) {
  writeFileSync(`${DEBUG}_min`, String(operations));
  writeFileSync(`${DEBUG}_max`, String(operations));
  writeFileSync(DEBUG, String(BOTH_HEADERS));
  const { code } = await command("otaunpack", args);
  const wasCut = sys("ubi0/ro_mode") === "1";
  writeFileSync(DEBUG, "0");
  tool("ubidetach", "-d", "0");
  tool("ubiattach", "-m", "1", "-d", "0");
  return { code, wasCut, ...look({ length }) };
}

function volumes() {
  return [0, 1, 2, 3]
    .filter((id) => existsSync(`/sys/class/ubi/ubi0_${id}`))
    .map((id) => `${id} ${sys(`ubi0_${id}/name`)}`);
}
