// The delta engine's targets, and what a run of the benchmark says of each.

/** Patch sizes of `hdiffz -BSD` (HDiffPatch 4.12.0, in no registry), measured outside for the pinned pairs. */
const HDIFFZ = {
  libc: 55288,
  btrfsko: 204698,
  crypto: 219203,
  php: 583823,
  python: 950688,
  postgres: 808039,
  mariadbd: 1979868,
  vmlinuz: 8161376,
  vmlinux: 3835264,
};
const ELF = ["php", "python", "postgres"];
const PROGRAMS = ["libc", "btrfsko", "crypto", ...ELF, "mariadbd"];

const geometric = (list) => Math.exp(list.reduce((sum, x) => sum + Math.log(x), 0) / list.length);
const most = (list) => Math.max(...list);
const least = (list) => Math.min(...list);

/** Rows of the target table. @param {{pair: {name: string, pinned: boolean}, tools: object}[]} results */
export function targetRows(results, bareMib) {
  const of = (name, tool) => results.find((r) => r.pair.name === name)?.tools[tool];
  /** A figure of each named pair that was measured, as [pair, number]. */
  const each = (names, figure) =>
    names.flatMap((name) => {
      const tools = results.find((r) => r.pair.name === name)?.tools;
      const value = tools === undefined ? undefined : figure(tools, name);
      return value === undefined || Number.isNaN(value) ? [] : [[name, value]];
    });
  const rows = [];
  const add = ([what, against, atLeast, aim], figures, { join, met, show }) => {
    if (figures.length === 0) return;
    const value = join(figures.map(([, v]) => v));
    const detail = figures.length > 1 ? ` (${figures.map(([n, v]) => `${n} ${show(v)}`).join(", ")})` : "";
    rows.push([what, against, atLeast, aim, `${show(value)}${detail}`, met(value) ? "met" : "missed"]);
  };
  const times = (x) => `${x.toFixed(1)}×`;
  const ratio = (x) => x.toFixed(3);
  const mib = (x) => `${x.toFixed(0)} MiB`;
  const faster = (tool) => (t) =>
    t["bsdiff 4.3"] && t[tool] ? t["bsdiff 4.3"].make.wall / t[tool].make.wall : undefined;
  const size = (tool, other) => (t) => (t[tool] && t[other] ? t[tool].bytes / t[other].bytes : undefined);
  const speed = (what, names, limits) => {
    for (const [tool, limit, aim] of limits) {
      const labels = [`diff wall, ${what}, ${tool}`, "bsdiff 4.3", `${limit}×`, `${aim}×`];
      add(labels, each(names, faster(tool)), { join: least, met: (v) => v >= limit, show: times });
    }
  };
  speed("5–10 MB ELF", ELF, [
    ["default", 3, 8],
    ["fast", 6, 12],
  ]);
  speed(
    "66 MB kernel image",
    ["vmlinux"],
    [
      ["default", 30, 60],
      ["fast", 60, 90],
    ],
  );
  speed("compressed image", ["sqgzip"], [["default", 20, 50]]);
  const all = results.map((r) => r.pair.name);
  const against = all.filter((name) => name !== "vmlinuzcloud");
  const pinned = results.filter((r) => r.pair.pinned).map((r) => r.pair.name);
  const hdiffz = (t, name) => (HDIFFZ[name] && t.default ? t.default.bytes / HDIFFZ[name] : undefined);
  const atMost = (limit, join, show = ratio) => ({ join, met: (v) => v <= limit, show });
  add(["patch size, worst pair", "bsdiff 4.3", "1.00", ""], each(all, size("default", "bsdiff 4.3")), atMost(1, most));
  const mean = ["patch size, geometric mean", "bsdiff 4.3", "0.85", "0.78"];
  add(mean, each(against, size("default", "bsdiff 4.3")), atMost(0.85, geometric));
  const meanHdiffz = ["patch size, geometric mean", "hdiffz -BSD (sizes of the study)", "0.88", "0.80"];
  add(meanHdiffz, each(pinned, hdiffz), atMost(0.88, geometric));
  const memory = (t) => (t["bsdiff 4.3"] ? t.default?.make.mib / t["bsdiff 4.3"].make.mib : undefined);
  add(["peak memory, 66 MB", "bsdiff 4.3", "0.6", "0.35"], each(["vmlinux"], memory), atMost(0.6, most));
  const peak = each(["gibibyte"], (t) => t.default?.make.mib);
  add(["peak memory, 1 GiB", "–", "2.5 GiB", "1.5 GiB"], peak, atMost(2560, most, mib));
  const wall = (t) => (t["bsdiff 4.3"] ? t.default.apply.wall / t["bsdiff 4.3"].apply.wall : undefined);
  add(["apply wall, 66 MB", "bspatch 4.3", "1.2", "1.0"], each(["vmlinux"], wall), atMost(1.2, most));
  const over = each(all, (t) => (t.default ? t.default.apply.mib - bareMib : undefined));
  add(["apply memory over bare node", "–", "16 MiB", "10 MiB"], over, atMost(16, most, mib));
  const own = ["own format, ELF, size", "bsdiff 4.3", "0.70", "0.60"];
  add(own, each(PROGRAMS, size("otaforge", "bsdiff 4.3")), atMost(0.7, geometric));
  const zstd = ["own format, size", "zstd -19 --patch-from", "0.70", "0.60"];
  add(zstd, each([...PROGRAMS, "vmlinux"], size("otaforge", "zstd -19")), atMost(0.7, geometric));
  const time = (t) => (t.otaforge && t["zstd -19"] ? t.otaforge.make.wall / t["zstd -19"].make.wall : undefined);
  const zstdTime = ["own format, diff wall", "zstd -19 --patch-from", "1", ""];
  add(zstdTime, each([...PROGRAMS, "vmlinux"], time), atMost(1, geometric));
  const opened = ["squashfs-gzip, opened, size", "bsdiff 4.3 on the packed image", "0.30", "0.24"];
  add(opened, each(["sqgzip"], size("otaforge", "bsdiff 4.3")), atMost(0.3, most));
  const kernels = ["kernel with xz or lz4 payload, opened, size", "same", "0.60", "0.48"];
  add(kernels, each(["vmlinuz", "vmlinuzcloud"], size("otaforge", "bsdiff 4.3")), atMost(0.6, most));
  if (of("gibibyte", "fast")) {
    const fast = each(["gibibyte"], (t) => t.fast.make.mib);
    add(["peak memory, 1 GiB, fast", "–", "2.5 GiB", "1.5 GiB"], fast, atMost(2560, most, mib));
  }
  return rows;
}
