import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { readFile, readTree, sha1 } from "../../../test/support/android-device.ts";
import { createSimulatedDevice } from "../../device/index.ts";
import type { SimulatedDevice, SimulatedFileSystem, SimulatedNode } from "../../device/index.ts";
import { runApplyPatch } from "./command.ts";

const BASE = new URL("../../../test/vectors/android/applypatch/cli/", import.meta.url);
type FileText = string | { readonly op: "pad" | "flip"; readonly file: string };
interface Case {
  readonly files: Record<string, FileText>;
  readonly args: string[];
  readonly exit: number;
  readonly stdout: string;
  readonly files_after: Record<string, { readonly sha1: string; readonly size: number }>;
}
const { cases } = JSON.parse(readFileSync(new URL("cases.json", BASE), "utf8")) as { cases: Record<string, Case> };
const vector = (name: string): Uint8Array => new Uint8Array(readFileSync(new URL(name, BASE)));

function contentOf(text: FileText): Uint8Array {
  if (typeof text === "string") return vector(text);
  const bytes = vector(text.file);
  if (text.op === "flip") {
    const at = bytes.length - 20;
    bytes[at] = (bytes[at] as number) ^ 0x55;
    return bytes;
  }
  const padded = new Uint8Array(16384).fill(0xee);
  padded.set(bytes);
  return padded;
}

function device(
  files: Record<string, FileText>,
  fileSystems: Record<string, SimulatedFileSystem> = {},
): SimulatedDevice {
  const plain: Record<string, Uint8Array> = {};
  const nodes: Record<string, SimulatedNode> = {};
  for (const [path, text] of Object.entries(files)) {
    const content = contentOf(text);
    if (path.startsWith("dev/")) nodes[`/${path}`] = { kind: "block", content };
    else if (path.startsWith("mtd/")) nodes[`/dev/mtd/by-name/${path.slice(4)}`] = { kind: "block", content };
    else plain[`/${path}`] = content;
  }
  return createSimulatedDevice({
    nodes,
    files: { ...plain, "/w": { kind: "folder" as const }, "/cache": { kind: "folder" as const } },
    fileSystems,
  });
}

async function run(on: SimulatedDevice, args: readonly string[], profile: "safe" | "vendor") {
  let stdout = "";
  const exit = await runApplyPatch(
    { device: on, profile, keep: new Set(), log: (t) => (stdout += t), settle: async () => undefined },
    args,
    "/applypatch",
  );
  return { exit, stdout };
}

async function left(on: SimulatedDevice, nodes: readonly string[]) {
  const out: Record<string, { sha1: string; size: number }> = {};
  for (const [root, prefix] of [
    ["/w", "w"],
    ["/cache", "cache"],
  ] as const) {
    for (const [path, e] of Object.entries(await readTree(on, root))) {
      if (e.sha1 !== undefined) out[prefix + path] = { sha1: e.sha1, size: e.size as number };
    }
  }
  for (const path of nodes) {
    const node = await on.nodes.open(
      path.startsWith("mtd/") ? `/dev/mtd/by-name/${path.slice(4)}` : `/${path}`,
      "read",
    );
    out[path] = { sha1: sha1(await node.read(0, node.size)), size: node.size };
  }
  return out;
}

/** Free space and the words of the bzip2 library differ from machine to machine. */
const comparable = (text: string): string =>
  text
    .replace(/^.*bytes free .*\n/gm, "")
    .replace(/\(now .*$/gm, "")
    .replace(/^error (writing|while).*\n/gm, "")
    .replace(/^short write of .*\n/gm, "")
    .replace(/(patch [^\n]*: )?bz error.*\n/g, "$1")
    .replace(/(patch [^\n]*: )?a BSDIFF40 .*\n/g, "$1");

describe("applypatch as recorded from the reference program", () => {
  it.each(Object.entries(cases))("%s", async (name, { files, args, exit, stdout, files_after }) => {
    const on = device(files);
    const got = await run(on, args, "vendor");
    expect(got.exit).toBe(exit);
    expect(
      await left(
        on,
        Object.keys(files).filter((f) => /^(dev|mtd)\//.test(f)),
      ),
    ).toEqual(files_after);
    if (name !== "patch-corrupt-patch") expect(comparable(got.stdout)).toBe(comparable(stdout));
  });
});

describe("the safe profile", () => {
  const torn = cases["patch-emmc-torn-write-cache-copy"] as Case;

  it("patches a torn partition from the copy on /cache and then takes the copy away", async () => {
    const on = device(torn.files);
    expect((await run(on, torn.args, "safe")).exit).toBe(0);
    const node = await on.nodes.open("/dev/p", "read");
    expect(sha1(await node.read(0, 6037))).toBe("60b76ff6ecd151b62d37ae852097f6ae3a96359c");
    expect(await on.files.stat("/cache/saved.file")).toBeUndefined();
  });

  it("lets the check of a torn partition pass when the copy is good", async () => {
    const [name] = torn.args as [string];
    expect((await run(device(torn.files), ["-c", name], "safe")).exit).toBe(0);
    expect((await run(device(torn.files), ["-c", name], "vendor")).exit).toBe(1);
  });

  it("keeps the source when the patch is damaged", async () => {
    const corrupt = cases["patch-corrupt-patch"] as Case;
    const on = device(corrupt.files);
    expect((await run(on, corrupt.args, "safe")).exit).toBe(1);
    expect(sha1(await readFile(on, "/w/f"))).toBe("4695c6bdf9686a399992185cd2dce43650d4fbe8");
  });

  it("keeps the source when room is short and the patch is damaged", async () => {
    const corrupt = cases["patch-corrupt-patch"] as Case;
    const files = Object.fromEntries(Object.entries(corrupt.files).map(([p, t]) => [`/${p}`, contentOf(t)]));
    const on = createSimulatedDevice({
      files: { ...files, "/cache": { kind: "folder" } },
      fileSystems: { "/w": { capacityBytes: 40_000, node: "/dev/w" } },
    });
    expect((await run(on, corrupt.args, "safe")).exit).toBe(1);
    expect(sha1(await readFile(on, "/w/f"))).toBe("4695c6bdf9686a399992185cd2dce43650d4fbe8");
  });

  it("moves the source to /cache when room is short", async () => {
    const good = cases["patch-in-place"] as Case;
    const files = Object.fromEntries(Object.entries(good.files).map(([p, t]) => [`/${p}`, contentOf(t)]));
    const on = createSimulatedDevice({
      files: { ...files, "/cache": { kind: "folder" } },
      fileSystems: { "/w": { capacityBytes: 24_000, node: "/dev/w" } },
    });
    expect((await run(on, good.args, "safe")).exit).toBe(0);
    expect(sha1(await readFile(on, "/w/f"))).toBe("60b76ff6ecd151b62d37ae852097f6ae3a96359c");
    expect(await on.files.stat("/cache/saved.file")).toBeUndefined();
  });

  it("keeps label and capabilities of a patched file", async () => {
    const good = cases["patch-in-place"] as Case;
    const on = device(good.files);
    await on.files.setAttributes("/w/f", { selinuxLabel: "u:object_r:x:s0", capabilities: 3n, mode: 0o4755, uid: 7 });
    expect((await run(on, good.args, "safe")).exit).toBe(0);
    expect(await on.files.attributes("/w/f")).toMatchObject({
      selinuxLabel: "u:object_r:x:s0",
      capabilities: 3n,
      mode: 0o4755,
      uid: 7,
    });
  });

  it.each(["patch-in-place", "patch-emmc-in-place", "patch-mtd-in-place"])(
    "%s: after a cut at any write the same command ends it",
    async (name) => {
      const { files, args } = cases[name] as Case;
      const whole = device(files);
      await run(whole, args, "safe");
      const cuts = [
        ["before", "dropped"],
        ["torn", "some"],
        ["after", "kept"],
      ] as const;
      for (const [phase, unflushed] of cuts) {
        for (let write = 0; write < whole.writes; write++) {
          const on = device(files);
          on.cutPower({ write, phase, unflushed, seed: write * 7 + 1 });
          await run(on, args, "safe").catch(() => undefined);
          const again = on.restart();
          const done = await run(again, args, "safe");
          // A flash written in place has no copy elsewhere to name as its source but the saved one.
          expect(done.exit, `${phase} ${unflushed} ${write}: ${done.stdout}`).toBe(0);
        }
      }
    },
  );

  it.each([
    ["a partition", "patch-emmc-in-place", {}],
    ["a file without room beside it", "patch-in-place", { "/w": { capacityBytes: 24_000, node: "/dev/w" } }],
  ] as const)(
    "%s, with a cache for one copy: after a cut at any write the same command ends it",
    async (_, name, also) => {
      const { files, args } = cases[name] as Case;
      const cramped = (): SimulatedDevice =>
        device(files, { ...also, "/cache": { capacityBytes: 12_288, node: "/dev/c" } });
      const whole = cramped();
      expect((await run(whole, args, "safe")).exit).toBe(0);
      for (const unflushed of ["dropped", "some", "kept"] as const) {
        for (let write = 0; write < whole.writes; write++) {
          const on = cramped();
          on.cutPower({ write, phase: "torn", unflushed, seed: write * 7 + 1 });
          await run(on, args, "safe").catch(() => undefined);
          const again = on.restart();
          const done = await run(again, args, "safe");
          expect(done.exit, `${unflushed} ${write}: ${done.stdout}`).toBe(0);
          expect(await again.files.stat("/cache/saved.file")).toBeUndefined();
        }
      }
    },
  );
});
