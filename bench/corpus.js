// Builds the delta benchmark's corpus from Debian packages: two versions of each file, whatever two versions the archive holds.
// Usage: node bench/corpus.js [folder]; needs apt-get, dpkg-deb, xz, tar and, for the squashfs pair, mksquashfs.
import { execFileSync, spawnSync } from "node:child_process";
import { Buffer } from "node:buffer";
import { createHash } from "node:crypto";
import {
  closeSync,
  existsSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  readSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
  writeSync,
} from "node:fs";
import path from "node:path";
import { fileURLToPath } from "node:url";

/**
 * `versions` are taken where the archive still has them, otherwise its two newest. `pins`: first 16 digits of the SHA-256
 * of both files; for these bytes the sizes of tools that Debian does not have are known.
 */
const PAIRS = [
  {
    name: "libc",
    file: "lib/x86_64-linux-gnu/libc.so.6",
    package: "libc6",
    versions: ["2.36-9+deb12u7", "2.36-9+deb12u14"],
    pins: ["4035a8ce52d6ca81", "6b4a45352fd0c540"],
  },
  {
    name: "btrfsko",
    kernel: "amd64",
    pattern: /kernel\/fs\/btrfs\/btrfs\.ko$/,
    pins: ["58874464345981ea", "041ffde0e2cca0bc"],
  },
  {
    name: "crypto",
    file: "usr/lib/x86_64-linux-gnu/libcrypto.so.3",
    package: "libssl3",
    versions: ["3.0.20-1~deb12u2", "3.0.22-1~deb12u2"],
    pins: ["72db1b3de8b7dfba", "aa01e614af634bc7"],
  },
  {
    name: "php",
    file: "usr/bin/php8.2",
    package: "php8.2-cli",
    versions: ["8.2.32-1~deb12u1", "8.2.36-1~deb12u1"],
    pins: ["9fd8d51e423e740e", "8f71dab58b07d1c2"],
  },
  {
    name: "python",
    file: "usr/bin/python3.11",
    package: "python3.11-minimal",
    versions: ["3.11.2-6+deb12u8", "3.11.2-6+deb12u9"],
    pins: ["6d972cf21be56fe3", "9bee109da0dce17a"],
  },
  {
    name: "postgres",
    file: "usr/lib/postgresql/15/bin/postgres",
    package: "postgresql-15",
    versions: ["15.18-0+deb12u1", "15.20-0+deb12u1"],
    pins: ["a9b2a06c70b67070", "4d22e86a2fe2e869"],
  },
  {
    name: "mariadbd",
    file: "usr/sbin/mariadbd",
    package: "mariadb-server-core",
    versions: ["1:10.11.18-0+deb12u1", "1:10.11.19-0+deb12u1"],
    pins: ["17310a0920498d86", "9b44b62ca59523e0"],
  },
  {
    name: "vmlinuz",
    kernel: "amd64",
    pattern: /boot\/vmlinuz-[^/]*$/,
    pins: ["d8808aa4ca188560", "26f2e57c99338fea"],
  },
  { name: "vmlinuzcloud", kernel: "cloud-amd64", pattern: /boot\/vmlinuz-[^/]*$/ },
  {
    name: "vmlinux",
    kernel: "amd64",
    pattern: /boot\/vmlinuz-[^/]*$/,
    payload: true,
    pins: ["e073b7cd71a8c375", "4b37ad587701fad5"],
  },
];
/** Kernel packages carry their version in their name. */
const KERNELS = ["6.1.0-50", "6.1.0-56"];

/** Size of the pair for the memory of large inputs. */
const GIB = 1024 * 1024 * 1024;

const run = (program, args, options = {}) =>
  execFileSync(program, args, { stdio: ["ignore", "pipe", "inherit"], maxBuffer: 1 << 30, ...options });

const byVersion = (a, b) => (spawnSync("dpkg", ["--compare-versions", a, "gt", b]).status === 0 ? 1 : -1);

function versionsOf(name) {
  const lines = run("apt-cache", ["madison", name]).toString().trim().split("\n").filter(Boolean);
  return [...new Set(lines.map((line) => line.split("|")[1].trim()))];
}

/** The two versions to compare, the older first. */
function chooseVersions(pair) {
  const there = versionsOf(pair.package);
  if (pair.versions.every((v) => there.includes(v))) return pair.versions;
  return there.length < 2 ? undefined : there.sort(byVersion).slice(-2);
}

/** Two kernel packages of a flavour, the older first. */
function chooseKernels(flavour) {
  const pattern = `^linux-image-6\\.1\\.0-[0-9]+-${flavour}$`;
  const lines = run("apt-cache", ["search", "--names-only", pattern]).toString().trim().split("\n").filter(Boolean);
  const there = lines.map((line) => /6\.1\.0-\d+/.exec(line)[0]);
  const chosen = KERNELS.every((v) => there.includes(v)) ? KERNELS : there.sort(byVersion).slice(-2);
  return chosen.length < 2 ? undefined : chosen.map((version) => `linux-image-${version}-${flavour}`);
}

function unpacked(folder, spec) {
  const tree = path.join(folder, "trees", spec.replace(/[^\w.+~-]/g, "_"));
  if (existsSync(tree)) return tree;
  const download = path.join(folder, "packages");
  mkdirSync(download, { recursive: true });
  const before = new Set(readdirSync(download));
  run("apt-get", ["download", "-qq", "-o", "APT::Sandbox::User=root", spec], { cwd: download });
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

/** Makes `target` by `write`, whole or not at all. */
function once(target, write) {
  if (existsSync(target)) return;
  rmSync(`${target}.part`, { force: true });
  write(`${target}.part`);
  renameSync(`${target}.part`, target);
}

const SQUASHFS =
  "-comp gzip -b 131072 -noappend -all-root -all-time 1700000000 -mkfs-time 1700000000 -quiet -no-progress";

function squashfs(trees, image) {
  run("mksquashfs", [...trees, image, ...SQUASHFS.split(" ")]);
}

/** A gibibyte with a program's statistics: all trees in one archive, then the same bytes inverted, which share no seed. */
function gibibyte(trees, target) {
  const names = trees.map((tree) => path.basename(tree));
  const stable = ["--sort=name", "--mtime=@1700000000", "--owner=0", "--group=0", "--numeric-owner"];
  run("tar", [...stable, "-cf", target, "-C", path.dirname(trees[0]), ...names]);
  const file = openSync(target, "r+");
  const size = statSync(target).size;
  const piece = Buffer.alloc(1 << 24);
  for (let at = 0; size + at < GIB;) {
    const n = readSync(file, piece, 0, Math.min(piece.length, GIB - size - at), at);
    for (let i = 0; i < n; i++) piece[i] ^= 0xff;
    writeSync(file, piece, 0, n, size + at);
    at += n;
  }
  closeSync(file);
}

/**
 * Builds what is missing in `folder`.
 * @returns {{name: string, old: string, fresh: string, what: string, pinned: boolean}[]} `pinned`: the study's bytes
 */
export function buildCorpus(folder, { large = true } = {}) {
  mkdirSync(folder, { recursive: true });
  const made = [];
  const trees = [[], []];
  const kernels = [[], []];
  for (const pair of PAIRS) {
    try {
      const specs = pair.kernel ? chooseKernels(pair.kernel) : chooseVersions(pair)?.map((v) => `${pair.package}=${v}`);
      if (specs === undefined) throw new Error("the archive has one version only");
      const [old, fresh] = specs.map((spec, i) => {
        const target = path.join(folder, `${pair.name}.${i === 0 ? "old" : "new"}`);
        const tree = unpacked(folder, spec);
        (pair.kernel ? kernels : trees)[i].push(tree);
        once(target, (part) => {
          const bytes = readFileSync(pair.file ? path.join(tree, pair.file) : findFile(tree, pair.pattern));
          writeFileSync(part, pair.payload ? payload(bytes) : bytes);
        });
        return target;
      });
      const pinned = pair.pins !== undefined && digest(old) === pair.pins[0] && digest(fresh) === pair.pins[1];
      made.push({ name: pair.name, old, fresh, what: specs.join(" -> "), pinned });
    } catch (e) {
      console.error(`${pair.name}: left out, ${e.message.split("\n")[0]}`);
    }
  }
  const derived = (name, what, sources, write) => {
    const [old, fresh] = ["old", "new"].map((which, i) => {
      const target = path.join(folder, `${name}.${which}`);
      once(target, (part) => write(sources[i], part));
      return target;
    });
    made.push({ name, old, fresh, what, pinned: false });
  };
  if (trees[0].length === 0) return made;
  if (spawnSync("mksquashfs", ["-version"]).error === undefined) {
    derived("sqgzip", "the packages above but kernels as squashfs, gzip, 128 KiB blocks", trees, squashfs);
  } else console.error("sqgzip: left out, mksquashfs is not installed");
  if (large) {
    const all = trees.map((list, i) => [...new Set([...list, ...kernels[i]])]);
    derived("gibibyte", "all packages above as one archive, then its bytes inverted, to 1 GiB", all, gibibyte);
  }
  return made;
}

/** The first 16 digits of a file's SHA-256. */
export function digest(file) {
  return createHash("sha256").update(readFileSync(file)).digest("hex").slice(0, 16);
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const folder = process.argv[2] ?? fileURLToPath(new URL("../.otaforge/corpus", import.meta.url));
  for (const { name, old, fresh, what, pinned } of buildCorpus(folder)) {
    const sizes = `${statSync(old).size} ${digest(old)} -> ${statSync(fresh).size} ${digest(fresh)}`;
    console.log(`${name.padEnd(12)} ${sizes}  ${what}${pinned ? ", pinned" : ""}`);
  }
}
