// Builds the delta benchmark's corpus from Debian packages: two versions of each file, whatever two versions the archive holds.
// Usage: node bench/corpus.js [folder]; needs apt-get, dpkg-deb, xz and, for the squashfs pair, mksquashfs.
import { execFileSync, spawnSync } from "node:child_process";
import { Buffer } from "node:buffer";
import { createHash } from "node:crypto";
import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync, statSync, writeFileSync } from "node:fs";
import path from "node:path";
import { fileURLToPath } from "node:url";

/** Small pairs are pinned: where the archive still has these versions, the bytes are the ones the study measured. */
const PAIRS = [
  {
    name: "libc",
    file: "lib/x86_64-linux-gnu/libc.so.6",
    package: "libc6",
    versions: ["2.36-9+deb12u7", "2.36-9+deb12u14"],
  },
  {
    name: "crypto",
    file: "usr/lib/x86_64-linux-gnu/libcrypto.so.3",
    package: "libssl3",
    versions: ["3.0.20-1~deb12u2", "3.0.22-1~deb12u2"],
  },
  { name: "php", file: "usr/bin/php8.2", package: "php8.2-cli", versions: [] },
  { name: "python", file: "usr/bin/python3.11", package: "python3.11-minimal", versions: [] },
  {
    name: "postgres",
    file: "usr/lib/postgresql/15/bin/postgres",
    package: "postgresql-15",
    versions: ["15.18-0+deb12u1", "15.20-0+deb12u1"],
  },
  { name: "mariadbd", file: "usr/sbin/mariadbd", package: "mariadb-server-core", versions: [] },
  { name: "btrfsko", kernel: true, pattern: /kernel\/fs\/btrfs\/btrfs\.ko$/ },
  { name: "vmlinuz", kernel: true, pattern: /boot\/vmlinuz-[^/]*$/ },
  { name: "vmlinux", kernel: true, pattern: /boot\/vmlinuz-[^/]*$/, payload: true },
];
const KERNELS = ["linux-image-6.1.0-50-amd64", "linux-image-6.1.0-56-amd64"];

const run = (program, args, options = {}) =>
  execFileSync(program, args, { stdio: ["ignore", "pipe", "inherit"], maxBuffer: 1 << 30, ...options });

function versionsOf(name) {
  const lines = run("apt-cache", ["madison", name]).toString().trim().split("\n").filter(Boolean);
  return [...new Set(lines.map((line) => line.split("|")[1].trim()))];
}

/** The two versions to compare, the older first. */
function chooseVersions(pair) {
  const there = versionsOf(pair.package);
  if (pair.versions.length === 2 && pair.versions.every((v) => there.includes(v))) return pair.versions;
  if (there.length < 2) return undefined;
  const newer = (a, b) => spawnSync("dpkg", ["--compare-versions", a, "gt", b]).status === 0;
  const sorted = [...there].sort((a, b) => (newer(a, b) ? 1 : -1));
  return sorted.slice(-2);
}

function unpacked(folder, spec) {
  const tree = path.join(folder, "trees", spec.replace(/[^\w.+~-]/g, "_"));
  if (existsSync(tree)) return tree;
  const download = path.join(folder, "packages");
  mkdirSync(download, { recursive: true });
  const before = new Set(readdirSync(download));
  run("apt-get", ["download", "-qq", spec], { cwd: download });
  const file = readdirSync(download).find((name) => !before.has(name));
  mkdirSync(`${tree}.part`, { recursive: true });
  run("dpkg-deb", ["-x", path.join(download, file), `${tree}.part`]);
  rmSync(path.join(download, file));
  renameSync(`${tree}.part`, tree);
  return tree;
}

function findFile(tree, pattern) {
  for (const entry of readdirSync(tree, { recursive: true })) {
    if (pattern.test(entry) && statSync(path.join(tree, entry)).isFile()) return path.join(tree, entry);
  }
  throw new Error(`nothing in ${tree} matches ${pattern}`);
}

/** The xz payload of a bzImage, unpacked. */
function payload(image) {
  const at = image.indexOf(Buffer.from([0xfd, 0x37, 0x7a, 0x58, 0x5a, 0x00]));
  // What follows the payload is no xz: the program complains and has written everything by then.
  return spawnSync("xz", ["-dc", "--single-stream"], { input: image.subarray(at), maxBuffer: 1 << 30 }).stdout;
}

function squashfs(folder, name, trees, target) {
  const image = path.join(folder, `${name}.part`);
  rmSync(image, { force: true });
  run("mksquashfs", [
    ...trees,
    image,
    "-comp",
    "gzip",
    "-b",
    "131072",
    "-noappend",
    "-all-root",
    "-all-time",
    "1700000000",
    "-mkfs-time",
    "1700000000",
    "-quiet",
    "-no-progress",
  ]);
  renameSync(image, target);
}

/** Builds what is missing in `folder`. @returns {{name: string, old: string, fresh: string, what: string}[]} */
export function buildCorpus(folder) {
  mkdirSync(folder, { recursive: true });
  const made = [];
  const trees = [[], []];
  for (const pair of PAIRS) {
    try {
      const specs = pair.kernel ? KERNELS : chooseVersions(pair)?.map((v) => `${pair.package}=${v}`);
      if (specs === undefined) throw new Error("the archive has one version only");
      const files = specs.map((spec, i) => {
        const target = path.join(folder, `${pair.name}.${i === 0 ? "old" : "new"}`);
        const tree = unpacked(folder, spec);
        if (!pair.kernel) trees[i].push(tree);
        if (!existsSync(target)) {
          const from = pair.file ? path.join(tree, pair.file) : findFile(tree, pair.pattern);
          const bytes = readFileSync(from);
          writeFileSync(target, pair.payload ? payload(bytes) : bytes);
        }
        return target;
      });
      made.push({ name: pair.name, old: files[0], fresh: files[1], what: specs.join(" -> ") });
    } catch (e) {
      console.error(`${pair.name}: left out, ${e.message.split("\n")[0]}`);
    }
  }
  if (spawnSync("mksquashfs", ["-version"]).error === undefined && trees[0].length > 0) {
    const files = ["old", "new"].map((which, i) => {
      const target = path.join(folder, `sqgzip.${which}`);
      if (!existsSync(target)) squashfs(folder, `sqgzip-${which}`, trees[i], target);
      return target;
    });
    made.push({
      name: "sqgzip",
      old: files[0],
      fresh: files[1],
      what: "the packages above as squashfs, gzip, 128 KiB blocks",
    });
  } else console.error("sqgzip: left out, mksquashfs is not installed");
  return made;
}

export function digest(file) {
  return createHash("sha256").update(readFileSync(file)).digest("hex").slice(0, 16);
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const folder = process.argv[2] ?? fileURLToPath(new URL("../.otaforge/corpus", import.meta.url));
  for (const { name, old, fresh, what } of buildCorpus(folder)) {
    console.log(
      `${name.padEnd(10)} ${statSync(old).size} ${digest(old)} -> ${statSync(fresh).size} ${digest(fresh)}  ${what}`,
    );
  }
}
