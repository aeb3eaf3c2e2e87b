// Packing against what any packer must at least do: `cat` of the image into a file, and `md5sum` of it.
// Both are measured in one run, turn by turn, so that a busy machine slows both. Usage: npm run bench:pack [-- MiB [rounds]]
import { spawnSync } from "node:child_process";
import { closeSync, mkdtempSync, openSync, rmSync, statSync, writeSync } from "node:fs";
import { cpus, tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

const [mib = 1024, rounds = 3] = process.argv.slice(2).map(Number);
const otapack = fileURLToPath(new URL("../bin/otapack", import.meta.url));
const folder = mkdtempSync(join(process.env.BENCH_DIR ?? tmpdir(), "bench-pack-"));
const image = join(folder, "image");
const copy = join(folder, "copy");
const pack = join(folder, "package");

function makeImage() {
  // Pseudo-random, so that nothing on the way can be clever about it.
  const block = new Uint32Array(262144);
  let state = 1;
  for (let i = 0; i < block.length; i++) block[i] = state = Math.imul(state ^ (state >>> 15), 0x2c1b3c6d) + 0x9e3779b9;
  const file = openSync(image, "w");
  for (let i = 0; i < mib; i++) {
    block[0] = i;
    writeSync(file, new Uint8Array(block.buffer));
  }
  closeSync(file);
}

function timed(work) {
  const start = performance.now();
  work();
  return (performance.now() - start) / 1000;
}

function run(command, args) {
  const result = spawnSync(command, args, { stdio: ["ignore", "pipe", "inherit"] });
  if (result.status !== 0) throw new Error(`${command} ended with ${result.status}`);
}

const median = (list) => [...list].sort((a, b) => a - b)[Math.floor(list.length / 2)];

try {
  makeImage();
  run("sync", []);
  const base = [];
  const ours = { "v1.6": [], "v0.4": [] };
  for (let round = 0; round < rounds; round++) {
    rmSync(copy, { force: true });
    base.push(timed(() => run("sh", ["-c", 'cat "$1" > "$2" && md5sum "$2"', "sh", image, copy])));
    for (const generation of Object.keys(ours)) {
      rmSync(copy, { force: true });
      rmSync(pack, { force: true });
      ours[generation].push(
        timed(() => {
          run(process.execPath, [otapack, "--generation", generation, "-c", pack]);
          run(process.execPath, [otapack, "-a", pack, "-s", image, "-d", "/dev/mmcblk0p5", "--block-update"]);
        }),
      );
      if (statSync(pack).size < mib * 1048576) throw new Error("the package is too small");
    }
  }
  const result = { mib, rounds, node: process.version, cpu: cpus()[0]?.model, catAndMd5sumSeconds: median(base) };
  for (const [generation, list] of Object.entries(ours)) {
    result[generation] = { seconds: median(list), ratio: Number((median(list) / median(base)).toFixed(2)), all: list };
  }
  console.log(JSON.stringify({ ...result, catAndMd5sumAll: base }, null, 2));
  const worst = Math.max(...Object.keys(ours).map((g) => result[g].ratio));
  console.log(`worst ratio ${worst}, wanted at most 1.5`);
  process.exitCode = worst <= 1.5 ? 0 : 1;
} finally {
  rmSync(folder, { recursive: true, force: true });
}
