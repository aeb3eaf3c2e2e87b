// Cuts a second of a 256 KiB SigmaStar package with scripts, two raw images, a UBI volume, and files added, updated, deleted and
// patched, as `otaforge rehearse` makes them: `node bench/rehearse-sigmastar.js`.
// A busy machine lengthens the seconds, but hardly the processor seconds: both are printed.
import { spawnSync } from "node:child_process";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { cpus, tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { simulatedCopyOf } from "../dist/cli/rehearsal.js";
import { rehearseOnThreads } from "../dist/rehearse/pool.node.js";

const folder = mkdtempSync(join(tmpdir(), "bench-rehearse-"));
let state = 1;

/** Bytes that do not compress, the same each time. */
function noise(size) {
  const words = new Uint32Array(Math.ceil(size / 4));
  for (let i = 0; i < words.length; i++) words[i] = state = Math.imul(state ^ (state >>> 15), 0x2c1b3c6d) + 0x9e3779b9;
  return new Uint8Array(words.buffer, 0, size);
}

function write(name, content) {
  const path = join(folder, name);
  mkdirSync(join(path, ".."), { recursive: true });
  writeFileSync(path, content);
}

function run(name, ...args) {
  const bin = fileURLToPath(new URL(`../bin/${name}`, import.meta.url));
  const env = { ...process.env, OTAFORGE_SIGMASTAR_GENERATION: "v1.6" };
  const result = spawnSync(process.execPath, [bin, ...args], { cwd: folder, env, encoding: "utf8" });
  if (result.status !== 0) throw new Error(`${name} ${args.join(" ")}: ${result.stderr}`);
  return result.stdout;
}

try {
  const [library, config] = [noise(8000), "key = value\n".repeat(700)];
  for (const side of ["old", "board/app"]) {
    write(`${side}/lib/a.so`, library);
    write(`${side}/etc/conf`, config);
    write(`${side}/etc/gone`, noise(3000));
  }
  write("board/app/etc/updated", noise(5000));
  write("new/lib/a.so", new Uint8Array([...library, ...noise(500)]));
  write("new/etc/conf", `${config}more = 1\n`);
  write("new/etc/fresh", noise(9000));
  write("updated", noise(6000));
  write("begin.sh", "killall app\n");
  write("end.sh", "echo $OTA_STATUS\n");
  for (const [name, size] of Object.entries({ kernel: 65536, rootfs: 65536, volume: 98304 })) write(name, noise(size));
  write("mtd4.img", new Uint8Array(131072));
  write("mtd5.img", new Uint8Array(131072));
  write("ubi0_1.img", noise(65536));
  const nodes = {
    "/dev/mtd4": { file: "mtd4.img", kind: "block", size: 131072 },
    "/dev/mtd5": { file: "mtd5.img", kind: "block", size: 131072 },
    "/dev/ubi0_1": { file: "ubi0_1.img", kind: "ubi", size: 262144 },
  };
  write("DEVICE.json", JSON.stringify({ family: "sigmastar", root: "board", nodes }));
  run("otapack", "-c", "P.bin", "-b", "begin.sh", "-e", "end.sh");
  const append = (...args) => run("otapack", "-a", "P.bin", ...args);
  append("-s", "kernel", "-d", "/dev/mtd4", "-t", "0x20000", "--block-update");
  append("-s", "rootfs", "-d", "/dev/mtd5", "-t", "0x20000", "--block-update");
  append("-s", "volume", "-d", "/dev/ubi0_1", "--ubi-update");
  append("-o", "old", "-n", "new", "-d", "/app", "--dir-update-diff");
  append("-s", "updated", "-d", "/app/etc/updated", "--file-update");
  const spec = await simulatedCopyOf(join(folder, "DEVICE.json"));
  const data = { spec, package: new Uint8Array(readFileSync(join(folder, "P.bin"))), items: [], profile: "safe" };
  const before = process.cpuUsage();
  const module = new URL("../dist/cli/sigmastar-rehearsal.js", import.meta.url).href;
  const report = await rehearseOnThreads({ module, data });
  const used = process.cpuUsage(before);
  const cpuSeconds = (used.user + used.system) / 1e6;
  const perSecond = { wall: Math.round(report.cuts / report.seconds), cpu: Math.round(report.cuts / cpuSeconds) };
  const machine = { node: process.version, cpu: cpus()[0]?.model, cores: cpus().length };
  console.log(JSON.stringify({ ...machine, ...report, cpuSeconds, cutsPerSecond: perSecond }, null, 2));
  process.exitCode = report.broken === 0 ? 0 : 1;
} finally {
  rmSync(folder, { recursive: true, force: true });
}
