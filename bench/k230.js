// Writing a K230 image to a card image against `dd` of the same bytes with the same chunk and a flush, plus `sha256sum`.
// Both are measured in one run, turn by turn, so that a busy machine slows both. Also the peak memory of a large install.
// Usage: npm run bench:k230 [-- MiB [rounds [MiB for the memory run]]]; target: at most 1.3 times, less than 96 MiB.
import { spawn, spawnSync } from "node:child_process";
import {
  closeSync,
  ftruncateSync,
  mkdtempSync,
  openSync,
  readFileSync,
  rmSync,
  writeFileSync,
  writeSync,
} from "node:fs";
import { cpus, tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { encodeToc } from "../dist/k230/index.js";

const [mib = 256, rounds = 5, memoryMib = 1024] = process.argv.slice(2).map(Number);
const CHUNK = 1048576;
const MIB = 1048576;
/** Where the image is served for the measurement of an HTTP body. */
const PORT = 18230;
const testOta = fileURLToPath(new URL("../bin/test_ota", import.meta.url));
const kdimg = fileURLToPath(new URL("../bin/kdimg", import.meta.url));
const folder = mkdtempSync(join(process.env.BENCH_DIR ?? tmpdir(), "bench-k230-"));

function run(command, args, options = {}) {
  const result = spawnSync(command, args, { stdio: ["ignore", "pipe", "pipe"], encoding: "utf8", ...options });
  if (result.status !== 0)
    throw new Error(`${command} ${args.join(" ")} ended with ${result.status}: ${result.stderr}`);
  return result;
}

function timed(work) {
  const start = performance.now();
  work();
  return (performance.now() - start) / 1000;
}

function makeFile(path, size) {
  const block = new Uint32Array(262144);
  let state = 1;
  for (let i = 0; i < block.length; i++) block[i] = state = Math.imul(state ^ (state >>> 15), 0x2c1b3c6d) + 0x9e3779b9;
  const file = openSync(path, "w");
  for (let i = 0; i < size; i++) {
    block[0] = i;
    writeSync(file, new Uint8Array(block.buffer));
  }
  closeSync(file);
}

/** An image of `size` MiB in two parts, and a card whose slots hold it. */
function prepare(name, size) {
  const half = size / 2;
  makeFile(join(folder, "part.bin"), half);
  const part = (n, at) => `partition ${n} {\noffset = ${at}M\nsize = ${half}M\nimage = "${n}.bin"\n}\n`;
  run("ln", [join(folder, "part.bin"), join(folder, "rtt.bin")]);
  run("cp", [join(folder, "part.bin"), join(folder, "rtapp.bin")]);
  const texts = 'image_info = "bench"\nchip_info = "none"\nboard_info = "none"';
  writeFileSync(
    join(folder, "g.cfg"),
    `image ${name}.kdimg {\nkdimage {\n${texts}\n}\n${part("rtt", 2)}${part("rtapp", 2 + half)}}\n`,
  );
  run(process.execPath, [kdimg, "pack", join(folder, "g.cfg"), "--inputpath", folder, "--outputpath", folder]);
  for (const file of ["part.bin", "rtt.bin", "rtapp.bin"]) rmSync(join(folder, file));
  const entries = [{ name: "ota_meta", offset: 0xf0000, size: 0x800, load: 0, boot: 0 }];
  ["rtt_a", "rtapp_a", "rtt_b", "rtapp_b"].forEach((n, i) => {
    entries.push({
      name: n,
      offset: (2 + i * half) * MIB,
      size: half * MIB,
      load: 1,
      boot: n.startsWith("rtt_") ? 3 : 0,
    });
  });
  const card = openSync(join(folder, `${name}.img`), "w");
  ftruncateSync(card, (2 + 4 * half) * MIB);
  writeSync(card, encodeToc(entries), 0, entries.length * 64, 0xe0000);
  closeSync(card);
}

const median = (list) => [...list].sort((a, b) => a - b)[Math.floor(list.length / 2)];

/** Peak resident memory of an install, MiB, by the kernel's own count. */
function peakMemory(name, from) {
  const script = {
    file: 'exec "$0" "$1" --progress none --disk "$2/$3.img" "$2/$3.kdimg"',
    pipe: 'cat "$2/$3.kdimg" | "$0" "$1" --progress none --disk "$2/$3.img" -',
    http: `exec "$0" "$1" --progress none --disk "$2/$3.img" http://127.0.0.1:${PORT}/$3.kdimg`,
  }[from];
  const measure = `import resource,subprocess,sys
subprocess.run(sys.argv[1:],check=True,stdout=subprocess.DEVNULL)
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)`;
  const { stdout } = run("python3", ["-c", measure, "sh", "-c", script, process.execPath, testOta, folder, name]);
  return Number(stdout) / 1024;
}

try {
  prepare("bench", mib);
  const image = join(folder, "bench.kdimg");
  const card = join(folder, "bench.img");
  const copy = join(folder, "copy.img");
  const base = [];
  const ours = [];
  // The same kind of target: a sparse file of the card's size, written inside; ours writes each slot in turn, so the first two
  // rounds of it meet holes and the first of dd's.
  run("truncate", ["-s", String((2 + 2 * mib) * MIB), copy]);
  for (let round = 0; round < rounds; round++) {
    run("sync", []);
    base.push(
      timed(() => {
        run("dd", [`if=${image}`, `of=${copy}`, `bs=${CHUNK}`, "seek=2", "conv=notrunc,fsync"]);
        run("sha256sum", [image]);
      }),
    );
    run("sync", []);
    ours.push(
      timed(() =>
        run(process.execPath, [testOta, "--progress", "none", "--chunk", String(CHUNK), "--disk", card, image]),
      ),
    );
  }
  const ratio = median(ours) / median(base);
  console.log(
    `${cpus()[0]?.model}, ${cpus().length} cores, Node ${process.version}, image of ${mib} MiB, medians of ${rounds}`,
  );
  console.log(`dd + fsync + sha256sum  ${median(base).toFixed(2)} s`);
  console.log(`test_ota                ${median(ours).toFixed(2)} s  ${ratio.toFixed(2)} times`);
  rmSync(copy);
  rmSync(card);
  rmSync(image);
  prepare("large", memoryMib);
  // A process of its own serves the image: this one waits for the programs it starts.
  const server = spawn("python3", ["-m", "http.server", "--bind", "127.0.0.1", String(PORT)], {
    cwd: folder,
    stdio: "ignore",
  });
  await setTimeout(2000);
  const peaks = ["file", "pipe", "http"].map((from) => [from, peakMemory("large", from)]);
  server.kill();
  const say = peaks.map(([from, peak]) => `${peak.toFixed(0)} MiB by ${from}`).join(", ");
  console.log(`peak memory of a ${memoryMib} MiB install: ${say}`);
  if (process.env.BENCH_CHECK !== undefined && (ratio > 1.3 || peaks.some(([, peak]) => peak >= 96)))
    process.exitCode = 1;
  if (readFileSync("/proc/loadavg", "utf8") > "4") console.log("the machine was busy");
} finally {
  rmSync(folder, { recursive: true, force: true });
}
