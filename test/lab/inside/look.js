/** Runs inside the laboratory's machine: what nodes and folders hold, read by Node alone and not by the code under test. */
import { Buffer } from "node:buffer";
import { spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import {
  closeSync,
  lstatSync,
  openSync,
  readSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  writeFileSync,
} from "node:fs";

/** SHA-256 of parts of a node or file, `ranges`: [offset, length]. What the kernel keeps in memory is forgotten first. */
export function digests({ path, ranges }) {
  writeFileSync("/proc/sys/vm/drop_caches", "3");
  const file = openSync(path, "r");
  try {
    return ranges.map(([offset, length]) => {
      const bytes = Buffer.alloc(length);
      let have = 0;
      for (let n = 1; have < length && n > 0; have += n) n = readSync(file, bytes, have, length - have, offset + have);
      if (have < length) throw new Error(`${path} ends ${length - have} bytes before ${offset + length}`);
      return createHash("sha256").update(bytes).digest("hex");
    });
  } finally {
    closeSync(file);
  }
}

/** Labels and capabilities below a folder, by path. */
function attributes(folder) {
  const args = ["-R", "-P", "-h", "-d", "-e", "hex", "-m", "^security", "--absolute-names", folder];
  const { status, stdout, stderr } = spawnSync("getfattr", args, { encoding: "latin1", maxBuffer: 1 << 24 });
  if (status !== 0) throw new Error(`getfattr: ${stderr}`);
  const found = {};
  for (const part of stdout.split("\n\n")) {
    const path = /^# file: (.*)$/m.exec(part)?.[1];
    if (path === undefined || path === folder) continue;
    const labels = {};
    for (const [, name, hex] of part.matchAll(/^(security\.[a-z]+)=0x([0-9a-f]*)$/gm)) {
      labels[name] = name === "security.selinux" ? Buffer.from(hex, "hex").toString("latin1").replace(/\0$/, "") : hex;
    }
    found[path.slice(folder.length)] = labels;
  }
  return found;
}

/** Every file, folder and link below a folder: mode, owner, SHA-1 and size, or the link's text. */
export function tree({ folder }) {
  writeFileSync("/proc/sys/vm/drop_caches", "3");
  const found = {};
  const visit = (path, shown) => {
    for (const name of readdirSync(path)) {
      if (shown === "" && name === "lost+found") continue;
      const child = `${path}/${name}`;
      const info = lstatSync(child);
      if (info.isSymbolicLink()) {
        found[`${shown}/${name}`] = { link: readlinkSync(child) };
        continue;
      }
      const entry = { mode: (info.mode & 0o7777).toString(8), uid: info.uid, gid: info.gid };
      found[`${shown}/${name}`] = entry;
      if (info.isDirectory()) {
        entry.dir = 1;
        visit(child, `${shown}/${name}`);
        continue;
      }
      const bytes = readFileSync(child);
      entry.sha1 = createHash("sha1").update(bytes).digest("hex");
      entry.size = bytes.length;
    }
  };
  visit(folder, "");
  for (const [path, labels] of Object.entries(attributes(folder)))
    if (found[path] !== undefined) found[path].xattr = labels;
  return found;
}
