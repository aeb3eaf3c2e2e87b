// The delta engine against the programs Debian has, as whole processes taking turns, medians.
// Usage: npm run bench:delta [-- --pairs libc,crypto --runs 3 --corpus FOLDER --no-slow --no-large]
// `--no-slow` leaves out bsdiff where it takes minutes, `--no-large` the pair of 1 GiB. Needs the Debian packages bsdiff, xdelta3,
// zstd, time, xz-utils, lz4 and squashfs-tools. Results go to bench/results/.
import { execFileSync, spawnSync } from "node:child_process";
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { cpus, tmpdir, totalmem } from "node:os";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { buildCorpus, digest } from "./corpus.js";
import { targetRows } from "./delta-targets.js";

const { values } = parseArgs({
  options: {
    pairs: { type: "string" },
    runs: { type: "string", default: "3" },
    tools: { type: "string" },
    corpus: { type: "string", default: fileURLToPath(new URL("../.otaforge/corpus", import.meta.url)) },
    "no-slow": { type: "boolean", default: false },
    "no-large": { type: "boolean", default: false },
  },
});
const runs = Number(values.runs);
const otaforge = fileURLToPath(new URL("../bin/otaforge", import.meta.url));
const work = mkdtempSync(path.join(tmpdir(), "bench-delta-"));

/** Pairs on which bsdiff takes minutes: it runs once there, between two runs of everything else. */
const SLOW = new Set(["vmlinux", "sqgzip"]);

const ours = (format, effort, ...more) => ({
  make: (o, n, p) => [process.execPath, otaforge, "diff", "--format", format, "--effort", effort, ...more, o, n, p],
  apply: (o, n, p) => [process.execPath, otaforge, "patch", o, n, p],
});
const window = (file) => String(Math.max(27, Math.ceil(Math.log2(statSync(file).size + 1)) + 1));
const TOOLS = {
  "bsdiff 4.3": { make: (o, n, p) => ["bsdiff", o, n, p], apply: (o, n, p) => ["bspatch", o, n, p] },
  fast: ours("bsdiff40", "fast"),
  default: ours("bsdiff40", "default"),
  max: ours("bsdiff40", "max"),
  // Containers are opened with the programs as well: kernels are packed by them.
  otaforge: ours("otaforge", "default", "--repack", "deflate,zlib,gzip,xz,lz4,zstd,gnu-gzip"),
  "zstd -19": {
    make: (o, n, p) => ["zstd", "-q", "-f", "-19", `--long=${window(o)}`, `--patch-from=${o}`, n, "-o", p],
    apply: (o, n, p) => ["zstd", "-q", "-f", "-d", `--long=${window(o)}`, `--patch-from=${o}`, p, "-o", n],
  },
  xdelta3: {
    make: (o, n, p) => ["xdelta3", "-e", "-f", "-9", "-B", String(Math.max(1 << 26, statSync(o).size)), "-s", o, n, p],
    apply: (o, n, p) => ["xdelta3", "-d", "-f", "-B", String(Math.max(1 << 26, statSync(o).size)), "-s", o, p, n],
  },
};
/** What is said of the GiB pair is memory; the peers take hours or as much again. */
const LARGE_TOOLS = ["fast", "default"];

/** Seconds of the wall and of the processors, and peak MiB of one process, by the kernel's count. */
function measure(command) {
  const report = path.join(work, "time");
  const { status, stderr } = spawnSync("/usr/bin/time", ["-q", "-o", report, "-f", "%e %U %S %M", ...command], {
    stdio: ["ignore", "ignore", "pipe"],
  });
  if (status !== 0) throw new Error(`${command.join(" ")}: ${stderr}`);
  const [wall, user, system, kib] = readFileSync(report, "utf8").trim().split(" ").map(Number);
  return { wall, cpu: user + system, mib: kib / 1024 };
}

const median = (list) => [...list].sort((a, b) => a - b)[Math.floor(list.length / 2)];
const medians = (list) =>
  Object.fromEntries(["wall", "cpu", "mib"].map((key) => [key, median(list.map((m) => m[key]))]));

function comparePair(pair, tools, count) {
  const made = Object.fromEntries(tools.map((name) => [name, []]));
  const applied = Object.fromEntries(tools.map((name) => [name, []]));
  const sizes = {};
  const fresh = digest(pair.fresh);
  for (let round = 0; round < count; round++) {
    for (const name of tools) {
      if (SLOW.has(pair.name) && name === "bsdiff 4.3" && round !== Math.min(1, count - 1)) continue;
      const patch = path.join(work, `${name}.patch`);
      rmSync(patch, { force: true });
      made[name].push(measure(TOOLS[name].make(pair.old, pair.fresh, patch)));
      sizes[name] = statSync(patch).size;
    }
    for (const name of tools) {
      const patch = path.join(work, `${name}.patch`);
      const result = path.join(work, "result");
      if (!existsSync(patch)) continue;
      // Patches of ours in bsdiff's format are applied by bspatch as well: the proof that they are legal.
      if (round === 0 && ["fast", "default", "max"].includes(name) && pair.name !== "gibibyte") {
        execFileSync("bspatch", [pair.old, result, patch]);
        if (digest(result) !== fresh) throw new Error(`${pair.name}: bspatch makes another file of our patch`);
      }
      applied[name].push(measure(TOOLS[name].apply(pair.old, result, patch)));
      if (digest(result) !== fresh) throw new Error(`${pair.name}: ${name} does not give the new file back`);
    }
    rmSync(path.join(work, "result"), { force: true });
  }
  const row = (name) => ({ make: medians(made[name]), apply: medians(applied[name]), bytes: sizes[name] });
  return Object.fromEntries(tools.filter((name) => made[name].length > 0).map((name) => [name, row(name)]));
}

function versionOf(program, args) {
  const { stdout, stderr } = spawnSync(program, args, { encoding: "utf8" });
  return `${stdout}${stderr}`.split("\n")[0].trim();
}

const packageVersion = (name) =>
  spawnSync("dpkg-query", ["-W", "-f", "${Version}", name], { encoding: "utf8" }).stdout || "?";

const cell = (n, digits = 2) => (n === undefined ? "–" : n.toFixed(digits));

function report(results, machine) {
  const lines = [`# Delta benchmark, ${machine.date}`, "", machine.text, ""];
  lines.push("| pair | tool | diff wall s | CPU s | MiB | patch bytes | apply wall s | CPU s | MiB |");
  lines.push("|---|---|---:|---:|---:|---:|---:|---:|---:|");
  for (const { pair, tools } of results) {
    for (const [name, { make, apply, bytes }] of Object.entries(tools)) {
      const cells = [cell(make.wall), cell(make.cpu), cell(make.mib, 0), bytes.toLocaleString("en")];
      cells.push(cell(apply.wall), cell(apply.cpu), cell(apply.mib, 0));
      lines.push(`| ${pair.name} | ${name} | ${cells.join(" | ")} |`);
    }
  }
  lines.push("", "| pair | old bytes | what |", "|---|---:|---|");
  for (const { pair } of results) {
    const pinned = pair.pinned ? " (the study's bytes)" : "";
    lines.push(`| ${pair.name} | ${statSync(pair.old).size.toLocaleString("en")} | ${pair.what}${pinned} |`);
  }
  lines.push("", "| target | against | at least | aim | measured | |", "|---|---|---|---|---|---|");
  for (const row of targetRows(results, machine.bareMib)) lines.push(`| ${row.join(" | ")} |`);
  return `${lines.join("\n")}\n`;
}

try {
  const wanted = values.pairs?.split(",");
  const corpus = buildCorpus(values.corpus, { large: !values["no-large"] }).filter(
    ({ name }) => wanted === undefined || wanted.includes(name),
  );
  const bareMib = median([1, 2, 3].map(() => measure([process.execPath, "-e", "0"]).mib));
  const peers = ["bsdiff", "xdelta3", "zstd"].map((name) => `${name} ${packageVersion(name)}`);
  const cpu = `${cpus()[0]?.model ?? "?"}, ${cpus().length} processors, ${(totalmem() / 1024 ** 3).toFixed(0)} GiB`;
  const load = readFileSync("/proc/loadavg", "utf8").split(" ").slice(0, 3).join(" ");
  const machine = {
    date: new Date().toISOString().slice(0, 10),
    bareMib,
    text:
      `${cpu}; Node ${process.version} (bare: ${bareMib.toFixed(0)} MiB); ${versionOf("uname", ["-sr"])}; ` +
      `${peers.join(", ")}; otaforge ${versionOf(process.execPath, [otaforge, "--version"])}. ` +
      `Whole processes in turns, medians of ${runs}; load at the beginning ${load}. Rows fast, default and max are BSDIFF40, ` +
      "applied by bspatch as well; otaforge is the own format.",
  };
  const results = [];
  for (const pair of corpus) {
    const large = pair.name === "gibibyte";
    let tools = large ? LARGE_TOOLS : (values.tools?.split(",") ?? Object.keys(TOOLS));
    if (values["no-slow"] && SLOW.has(pair.name)) tools = tools.filter((name) => name !== "bsdiff 4.3");
    console.error(`${pair.name} …`);
    results.push({ pair, tools: comparePair(pair, tools, large ? 1 : runs) });
  }
  const text = report(results, machine);
  process.stdout.write(text);
  const folder = fileURLToPath(new URL("./results", import.meta.url));
  mkdirSync(folder, { recursive: true });
  // A part of the corpus is no result to keep.
  if (wanted === undefined && values.tools === undefined) {
    writeFileSync(path.join(folder, `delta-${machine.date}.md`), text);
    writeFileSync(
      path.join(folder, `delta-${machine.date}.json`),
      `${JSON.stringify({ machine, results }, null, 1)}\n`,
    );
  }
} finally {
  rmSync(work, { recursive: true, force: true });
}
