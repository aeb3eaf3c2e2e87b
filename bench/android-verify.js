// Verifying a signed package against `sha1sum` and `sha256sum` of the same file, turn by turn in one run, so that a busy machine slows
// both; and the peak memory of the verification. A PEM public key does not say which hash it signs, so both are computed.
// Usage: node bench/android-verify.js [MiB [rounds]]; target: at least 0.9 times their speed, less than 96 MiB.
import { spawnSync } from "node:child_process";
import { Buffer } from "node:buffer";
import { closeSync, ftruncateSync, mkdtempSync, openSync, rmSync, writeFileSync, writeSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

const [mib = 2048, rounds = 3] = process.argv.slice(2).map(Number);
const otaforge = fileURLToPath(new URL("../bin/otaforge", import.meta.url));
const folder = mkdtempSync(join(process.env.BENCH_DIR ?? tmpdir(), "bench-android-"));
const unsigned = join(folder, "unsigned.zip");
const file = join(folder, "update.zip");
const key = join(folder, "key");

function run(command, args) {
  const result = spawnSync(command, args, { stdio: ["ignore", "pipe", "pipe"], encoding: "utf8" });
  if (result.status !== 0) throw new Error(`${command} ${args.join(" ")}: ${result.status} ${result.stderr}`);
  return result;
}

/** Seconds and processor seconds of a command. */
function timed(command, args) {
  const start = performance.now();
  const result = run("/usr/bin/time", ["-f", "%U %S %M", command, ...args]);
  const [user, system, kib] = result.stderr.trim().split("\n").at(-1).split(" ").map(Number);
  return { wall: (performance.now() - start) / 1000, cpu: user + system, kib };
}

try {
  // One stored entry of zeros with numbers in between: hashing does not look at the content.
  const content = join(folder, "system.img");
  const fd = openSync(content, "w");
  ftruncateSync(fd, mib * 1048576);
  for (let at = 0; at < mib; at++) writeSync(fd, Buffer.from(`block ${at}`), 0, undefined, at * 1048576);
  closeSync(fd);
  run("zip", ["-0", "-j", "-q", unsigned, content]);
  rmSync(content);
  run("openssl", [
    ..."req -x509 -newkey rsa:2048 -sha256 -days 30 -nodes -subj /CN=bench -keyout".split(" "),
    `${key}.pem`,
    "-out",
    `${key}.x509.pem`,
  ]);
  run(otaforge, ["sign", unsigned, "--key", `${key}.pem`, "-o", file]);
  rmSync(unsigned);
  const publicKey = join(folder, "public.pem");
  writeFileSync(publicKey, run("openssl", ["x509", "-in", `${key}.x509.pem`, "-pubkey", "-noout"]).stdout);
  const rows = [];
  for (let i = 0; i < rounds; i++) {
    const ours = timed(process.execPath, [otaforge, "verify", file, "--key", publicKey, "--progress", "none"]);
    const [one, two] = [timed("sha1sum", [file]), timed("sha256sum", [file])];
    rows.push({ ours, theirs: { wall: one.wall + two.wall, cpu: one.cpu + two.cpu } });
  }
  const best = (pick) => Math.min(...rows.map(pick));
  const wall = best((r) => r.theirs.wall) / best((r) => r.ours.wall);
  const cpu = best((r) => r.theirs.cpu) / best((r) => r.ours.cpu);
  const peak = Math.max(...rows.map((r) => r.ours.kib)) / 1024;
  console.log(
    `verify of ${mib} MiB: ${best((r) => r.ours.wall).toFixed(2)} s, ${best((r) => r.ours.cpu).toFixed(2)} s of processor`,
  );
  console.log(
    `sha1sum and sha256sum: ${best((r) => r.theirs.wall).toFixed(2)} s, ${best((r) => r.theirs.cpu).toFixed(2)} s of processor`,
  );
  console.log(`speed ${wall.toFixed(2)} times (processor ${cpu.toFixed(2)} times), peak ${peak.toFixed(0)} MiB`);
} finally {
  rmSync(folder, { recursive: true, force: true });
}
