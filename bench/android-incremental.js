// An incremental of two builds of 300 MB and more, made of Debian packages as SYSTEM trees: time, memory, processors, and the
// size of the package against what bsdiff 4.3 (Debian's program) and imgdiff over it make of the same files.
// Usage: node bench/android-incremental.js [folder] [--reference all|none|N] [--same-kernel]; needs apt-get, dpkg-deb, bsdiff, GNU time.
// --same-kernel: only the other packages differ, for a run of a minute.
// N: reference patches for every N-th changed file below a mebibyte, and for all larger ones.
import { execFile, execFileSync, spawnSync } from "node:child_process";
import { Buffer } from "node:buffer";
import { createHash } from "node:crypto";
import {
  existsSync,
  lstatSync,
  mkdirSync,
  openSync,
  closeSync,
  writeSync,
  readdirSync,
  readFileSync,
  readlinkSync,
} from "node:fs";
import { mkdtempSync, renameSync, rmSync, statSync, writeFileSync } from "node:fs";
import { availableParallelism, tmpdir } from "node:os";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { createZipWriter, memoryReader, openZip } from "otaforge/core";
import { makeImgdiff2 } from "otaforge/delta";
import { nodeCodecs, nodeDigests } from "../dist/device/index.js";

/** Packages whose two newest versions make the two builds; a kernel first, whose modules are most of the bytes. */
const PACKAGES = [
  "postgresql-15",
  "mariadb-server-core",
  "php8.2-cli",
  "python3.11-minimal",
  "libssl3",
  "libc6",
  "libtomcat10-java",
];
const KERNEL = /^linux-image-6\.1\.0-\d+-amd64 /;
const run = (program, args, options = {}) => execFileSync(program, args, { maxBuffer: 1 << 28, ...options });
const newest = (a, b) => (spawnSync("dpkg", ["--compare-versions", a, "gt", b]).status === 0 ? 1 : -1);

function twoVersions(name) {
  const lines = run("apt-cache", ["madison", name]).toString().trim().split("\n");
  const versions = [...new Set(lines.map((line) => line.split("|")[1].trim()))].sort(newest).slice(-2);
  if (versions.length < 2) throw new Error(`${name}: the archive has one version only`);
  return versions.map((version) => `${name}=${version}`);
}

function twoKernels() {
  const lines = run("apt-cache", ["search", "--names-only", "^linux-image-6.1.0-[0-9]+-amd64$"]).toString().split("\n");
  const names = lines.filter((line) => KERNEL.test(line)).map((line) => line.split(" ")[0]);
  return names.sort(newest).slice(-2);
}

function unpack(folder, spec) {
  const tree = path.join(folder, "trees", spec.replace(/[^\w.+~-]/g, "_"));
  if (existsSync(tree)) return tree;
  const download = path.join(folder, "packages", spec.replace(/[^\w.+~-]/g, "_"));
  mkdirSync(download, { recursive: true });
  run("apt-get", ["download", "-qq", "-o", "APT::Sandbox::User=root", spec], { cwd: download });
  mkdirSync(`${tree}.part`, { recursive: true });
  run("dpkg-deb", ["-x", path.join(download, readdirSync(download)[0]), `${tree}.part`]);
  renameSync(`${tree}.part`, tree);
  return tree;
}

/** A zip as the build makes it, entry by entry, and its filesystem_config. */
async function targetFiles(file, trees, which) {
  const fd = openSync(`${file}.part`, "w");
  const sink = { write: async (offset, bytes) => void writeSync(fd, bytes, 0, bytes.length, offset) };
  const zip = createZipWriter(sink, { codecs: nodeCodecs, crc32: (b, c) => nodeDigests.crc32(b, c), level: 6 });
  const config = ["system 0 0 755 selabel=u:object_r:system_file:s0 capabilities=0x0"];
  const text = (name, value) => zip.add({ name }, Buffer.from(value));
  const seen = new Set(["system"]);
  const line = (name, mode) => {
    if (seen.has(name)) return;
    seen.add(name);
    config.push(`${name} 0 0 ${mode} selabel=u:object_r:system_file:s0 capabilities=0x0`);
  };
  let total = 0;
  let kernel;
  for (const tree of trees) {
    for (const relative of readdirSync(tree, { recursive: true }).sort()) {
      const full = path.join(tree, relative);
      const info = lstatSync(full);
      // Both kernels' modules in the same place, as a device has one.
      const name = `system/${relative.replace(/6\.1\.0-\d+-amd64/g, "6.1.0-amd64")}`;
      if (/[^ -~]/.test(name)) continue;
      if (info.isDirectory()) line(name, "755");
      else if (info.isSymbolicLink()) {
        if (seen.has(name)) continue;
        seen.add(name);
        await zip.add(
          { name: `SYSTEM/${name.slice(7)}`, externalAttributes: 0o120777 * 65536 },
          Buffer.from(readlinkSync(full)),
        );
      } else if (info.isFile() && !seen.has(name)) {
        const bytes = readFileSync(full);
        if (/\/boot\/vmlinuz/.test(name)) kernel = bytes;
        line(name, info.mode & 0o111 ? "755" : "644");
        total += bytes.length;
        await zip.add({ name: `SYSTEM/${name.slice(7)}`, externalAttributes: 0o100644 * 65536 }, bytes);
      }
    }
  }
  line("system/build.prop", "644");
  const date = which === "old" ? 1_700_000_000 : 1_710_000_000;
  await text(
    "SYSTEM/build.prop",
    `ro.product.device=bench\nro.build.date.utc=${date}\nro.build.date=${which}\nro.build.fingerprint=bench/${which}\n`,
  );
  await text("META/misc_info.txt", "recovery_api_version=3\nfstab_version=2\nuse_set_metadata=1\n");
  await text("META/filesystem_config.txt", `${config.join("\n")}\n`);
  await text(
    "RECOVERY/RAMDISK/etc/recovery.fstab",
    ["system ext4", "cache ext4", "boot emmc", "recovery emmc"]
      .map((p) => `/dev/${p.split(" ")[0]} /${p} x x\n`)
      .join(""),
  );
  await text("OTA/bin/updater", "updater");
  await zip.add({ name: "BOOTABLE_IMAGES/boot.img" }, kernel ?? Buffer.from(which));
  await zip.add(
    { name: "BOOTABLE_IMAGES/recovery.img" },
    Buffer.concat([kernel ?? Buffer.from(which), Buffer.from("recovery")]),
  );
  await zip.finish();
  closeSync(fd);
  renameSync(`${file}.part`, file);
  return total;
}

const call = promisify(execFile);

/** bsdiff 4.3's patch. */
async function bsdiff(old, fresh) {
  const folder = mkdtempSync(path.join(tmpdir(), "otaforge-bench-"));
  try {
    const [a, b, p] = ["a", "b", "p"].map((n) => path.join(folder, n));
    writeFileSync(a, old);
    writeFileSync(b, fresh);
    await call("bsdiff", [a, b, p]);
    return readFileSync(p);
  } finally {
    rmSync(folder, { recursive: true });
  }
}

async function main() {
  const argv = process.argv.slice(2);
  const at = argv.indexOf("--reference");
  const reference = at < 0 ? "all" : argv.splice(at, 2)[1];
  const sameKernel = argv.includes("--same-kernel");
  if (sameKernel) argv.splice(argv.indexOf("--same-kernel"), 1);
  const folder = path.resolve(argv[0] ?? fileURLToPath(new URL("../.otaforge/android-incremental", import.meta.url)));
  mkdirSync(folder, { recursive: true });
  const kernels = twoKernels();
  const pairs = [sameKernel ? [kernels[0], kernels[0]] : kernels, ...PACKAGES.map(twoVersions)];
  const [old, fresh] = ["old", "new"].map((which) => path.join(folder, `${which}-target_files.zip`));
  for (const [i, file] of [old, fresh].entries()) {
    if (existsSync(file)) continue;
    const bytes = await targetFiles(
      file,
      pairs.map((pair) => unpack(folder, pair[i])),
      i === 0 ? "old" : "new",
    );
    console.log(
      `${path.basename(file)}: SYSTEM of ${(bytes / 1e6).toFixed(1)} MB from ${pairs.map((p) => p[i]).join(", ")}`,
    );
  }
  const output = path.join(folder, "incremental.zip");
  const program = fileURLToPath(new URL("../bin/ota_from_target_files", import.meta.url));
  const timing = spawnSync(
    "/usr/bin/time",
    ["-v", process.execPath, program, "--no_signing", "--progress", "none", "-i", old, fresh, output],
    { maxBuffer: 1 << 28 },
  );
  const log = timing.stderr.toString();
  if (timing.status !== 0) throw new Error(log);
  const value = (label) => new RegExp(`${label}: (.*)`).exec(log)?.[1];
  const peak = Number(value("Maximum resident set size \\(kbytes\\)")) / 2 ** 20;
  console.log(
    `incremental: ${statSync(output).size} bytes, sha256 ${createHash("sha256").update(readFileSync(output)).digest("hex").slice(0, 16)}, ` +
      `peak ${peak.toFixed(2)} GiB, ${value("Elapsed \\(wall clock\\) time \\(h:mm:ss or m:ss\\)")} with ${value("Percent of CPU this job got")} of ` +
      `${availableParallelism()} processors, user ${value("User time \\(seconds\\)")} s`,
  );
  if (reference === "none") return;

  const zips = await Promise.all(
    [old, fresh, output].map(async (f) => openZip(memoryReader(readFileSync(f)), { codecs: nodeCodecs })),
  );
  const [source, target, made] = zips;
  const names = made.entries.filter((e) => e.name.startsWith("patch/system/")).map((e) => e.name.slice(6, -2));
  const every = reference === "all" ? 1 : Number(reference);
  const sums = { ours: 0, theirs: 0, files: 0, largerFiles: 0 };
  const todo = names.filter((name, i) => i % every === 0 || target.need(`SYSTEM/${name.slice(7)}`).size > 2 ** 20);
  const worker = async () => {
    for (let name = todo.pop(); name !== undefined; name = todo.pop()) {
      const [a, b] = [
        await source.read(source.need(`SYSTEM/${name.slice(7)}`)),
        await target.read(target.need(`SYSTEM/${name.slice(7)}`)),
      ];
      const zip = /\.(zip|jar|apk)$/.test(name);
      let theirs;
      if (zip || /\.(gz|img)$/.test(name))
        theirs = (await makeImgdiff2(a, b, { bsdiff, zip }).catch(() => undefined))?.length;
      theirs ??= (await bsdiff(a, b)).length;
      const ours = made.need(`patch/${name}.p`).size;
      sums.files++;
      if (ours > theirs) sums.largerFiles++;
      sums.ours += ours;
      // The original sends a file whole when its patch is above 95 % of it.
      sums.theirs += theirs > 0.95 * b.length ? target.need(`SYSTEM/${name.slice(7)}`).compressedSize : theirs;
    }
  };
  await Promise.all(Array.from({ length: availableParallelism() }, worker));
  console.log(
    `patches of ${sums.files} of ${names.length} changed files: ours ${sums.ours} bytes, bsdiff and imgdiff ${sums.theirs} bytes: ` +
      `${(sums.ours / sums.theirs).toFixed(4)} x; ${sums.largerFiles} files larger`,
  );
  const rest = statSync(output).size - sums.ours;
  if (every === 1) console.log(`package: ${((rest + sums.ours) / (rest + sums.theirs)).toFixed(4)} x`);
}

await main();
