import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { collectRun, makePackage, readTree, sha1 } from "../../../test/support/android-device.ts";
import type { TreeEntry } from "../../../test/support/android-device.ts";
import { createSimulatedDevice } from "../../device/index.ts";
import type { SimulatedFile, SimulatedNode } from "../../device/index.ts";

interface Recorded {
  readonly exit: number;
  readonly command_pipe: string[];
  readonly log: string;
  readonly tree: Record<string, TreeEntry>;
  readonly mtd?: Record<string, string>;
  readonly props_set?: string[];
}
interface Case {
  readonly script: string;
  readonly extra_files_hex: Record<string, string>;
  readonly kitkat: Recorded;
  readonly nougat: Recorded;
}
const vectors = JSON.parse(
  readFileSync(new URL("../../../test/vectors/android/updater-functions/cases/cases.json", import.meta.url), "utf8"),
) as {
  package_entries_hex: Record<string, string>;
  files_hex: Record<string, string>;
  symlinks: Record<string, string>;
  props: Record<string, string>;
  cases: Record<string, Case>;
};

const hex = (text: string): Uint8Array => new Uint8Array(Buffer.from(text, "hex"));
const content = (text: string): Uint8Array => {
  const fill = /^fill:([0-9a-f]{2})\*(\d+)$/.exec(text);
  return fill === null ? hex(text) : new Uint8Array(Number(fill[2])).fill(Number.parseInt(fill[1] as string, 16));
};

function device(extra: Record<string, string>) {
  const files: Record<string, SimulatedFile> = {};
  const nodes: Record<string, SimulatedNode> = {};
  for (const [path, text] of Object.entries({ ...vectors.files_hex, ...extra })) {
    if (path.startsWith("mtd/")) {
      nodes[`/dev/mtd/by-name/${path.slice(4)}`] = { kind: "block", content: content(text) };
    } else if (vectors.symlinks[path] === undefined) files[`/${path}`] = { content: content(text) };
  }
  for (const [path, text] of Object.entries(vectors.symlinks)) files[`/${path}`] = { link: text };
  return createSimulatedDevice({
    files: { ...files, "/cache": { kind: "folder" } },
    nodes,
    properties: vectors.props,
    fileSystems: { "/proc": { node: "proc" } },
  });
}

const entries = Object.fromEntries(Object.entries(vectors.package_entries_hex).map(([n, h]) => [n, hex(h)]));
/** Lines of the log that the reference program's zip reader wrote are not ours to repeat. */
const logLines = (text: string): string[] =>
  text.split("\n").filter((line) => line !== "" && !/^(minzip|Extracted)|bytes free on|ApplyParsedPerms/.test(line));

describe("updater functions recorded from the reference updaters", () => {
  const cases = Object.entries(vectors.cases).filter(([name]) => name !== "run_program");
  for (const era of ["4.4", "7.1"] as const) {
    it.each(cases)(`${era}: %s`, async (_name, vector) => {
      const want = era === "4.4" ? vector.kitkat : vector.nougat;
      const simulated = device(vector.extra_files_hex);
      const got = await collectRun({
        device: simulated,
        package: await makePackage(vector.script, entries),
        era,
        profile: "vendor",
      });
      expect(got.pipe).toEqual(want.command_pipe);
      expect(got.exitCode).toBe(want.exit);
      expect(await readTree(simulated, "/w")).toEqual(want.tree);
      if (want.props_set !== undefined) expect([`sys.powerctl=${got.reboot}`]).toEqual(want.props_set);
      for (const [name, digest] of Object.entries(want.mtd ?? {})) {
        const node = await simulated.nodes.open(`/dev/mtd/by-name/${name}`, "read");
        expect(sha1(await node.read(0, node.size))).toBe(digest);
      }
      const wanted = logLines(want.log);
      if (!_name.startsWith("set_perm-missing")) expect(logLines(got.log)).toEqual(wanted);
    });
  }
});

describe("updater functions beyond the recordings", () => {
  const run = async (script: string, options: { profile?: "safe" | "vendor"; era?: "4.4" | "7.1" } = {}) => {
    const simulated = device({});
    const got = await collectRun({
      device: simulated,
      package: await makePackage(script, entries),
      era: options.era ?? "4.4",
      profile: options.profile ?? "safe",
    });
    return { ...got, simulated };
  };

  it("passes a program's arguments as they are, never through a shell", async () => {
    const { simulated, exitCode } = await run('run_program("/bin/x", "$(reboot)", "a\\nb; rm -rf /")');
    expect(exitCode).toBe(0);
    const [script] = simulated.scriptsNoted;
    expect(script?.variables).toMatchObject({ OTA_ARG0: "/bin/x", OTA_ARG1: "$(reboot)", OTA_ARG2: "a\nb; rm -rf /" });
    expect(new TextDecoder().decode(script?.text)).not.toContain("reboot");
  });

  it("stops at a failed format in the safe profile and goes on in the other", async () => {
    const script = 'format("ext4", "EMMC", "/dev/none", "0", "/system"); ui_print("on")';
    expect((await run(script)).exitCode).toBe(7);
    expect(await run(script, { profile: "vendor" })).toMatchObject({ exitCode: 0 });
  });

  it("moves a file once and finds it moved the second time, in the safe profile also on 4.4", async () => {
    const script = 'rename("/w/a.txt", "/w/new/b.txt"); rename("/w/a.txt", "/w/new/b.txt")';
    expect(await run(script)).toMatchObject({ exitCode: 0, result: "/w/new/b.txt" });
    expect((await run(script, { profile: "vendor" })).exitCode).toBe(7);
  });

  it("writes no file through a planted link", async () => {
    const { exitCode, simulated } = await run('package_extract_file("file.bin", "/w/ln") || abort("refused")');
    expect(exitCode).toBe(7);
    expect(sha1(await (await simulated.files.open("/w/a.txt", "read")).read(0, 12))).toBe(
      "22596363b3de40b06f981fb85d82312e8c0ed511",
    );
  });

  it("counts arguments the original does not, instead of reading past their end", async () => {
    for (const script of ["is_substring(a)", "sleep()", 'file_getprop("/w/p.prop")', "apply_patch_space()"]) {
      expect((await run(script)).exitCode).toBe(7);
    }
  });

  it("has no room for a negative number of bytes", async () => {
    for (const profile of ["safe", "vendor"] as const) {
      expect(await run('apply_patch_space("-5")', { profile })).toMatchObject({ exitCode: 0, result: "" });
    }
  });

  it("writes a whole device node when the name of a file is one", async () => {
    const simulated = createSimulatedDevice({ nodes: { "/dev/block/boot": { kind: "block", size: 1024 } } });
    const got = await collectRun({
      device: simulated,
      package: await makePackage('package_extract_file("file.bin", "/dev/block/boot")', entries),
      era: "7.1",
      profile: "safe",
    });
    expect(got.result).toBe("t");
    const node = await simulated.nodes.open("/dev/block/boot", "read");
    expect(sha1(await node.read(0, 256))).toBe("4916d6bdb7f78e6803698cab32d1586ea457dfc8");
  });

  it("tells the number of an error and its cause to a 7.1 recovery", async () => {
    const { pipe } = await run('range_sha1("/none", "2,0,1"); abort("E1001: no");', { era: "7.1" });
    expect(pipe.slice(1)).toEqual(["ui_print E1001: no", "ui_print", "log error: 1001", "log cause: 102"]);
  });

  it("labels what it extracts by file_contexts", async () => {
    const simulated = createSimulatedDevice({
      files: {
        "/file_contexts": "/w(/.*)? u:object_r:w:s0\n/w/one\\.txt -- u:object_r:one:s0\n",
        "/w": { kind: "folder" },
      },
    });
    const got = await collectRun({
      device: simulated,
      package: await makePackage('package_extract_dir("d", "/w")', entries),
      era: "4.4",
      profile: "safe",
    });
    expect(got.pipe).toEqual(["ui_print script succeeded: result was [t]"]);
    const tree = await readTree(simulated, "/w", { labels: "text" });
    expect(tree["/one.txt"]?.xattr).toEqual({ "security.selinux": "u:object_r:one:s0" });
    expect(tree["/sub/deep"]?.xattr).toEqual({ "security.selinux": "u:object_r:w:s0" });
  });

  it("finds flash partitions in /proc/mtd, erases them to format them and mounts their block device", async () => {
    const flash = { kind: "nand", size: 0x40000, content: new Uint8Array(5000).fill(7) } as const;
    const simulated = createSimulatedDevice({
      files: { "/proc/mtd": 'dev:    size   erasesize  name\nmtd2: 00040000 00020000 "system"\n' },
      nodes: { "/dev/mtd2": flash, "/dev/block/mtdblock2": flash },
    });
    const mounted: { node: string; at: string }[] = [];
    const board = {
      ...simulated,
      kind: "board",
      mounts: {
        list: async () => mounted.map((mount) => ({ ...mount, readOnly: false })),
        mount: async (node: string, at: string) => void mounted.push({ node, at }),
        unmount: async () => undefined,
      },
    } as const;
    const format = 'format("yaffs2", "MTD", "system", "0", "/system")';
    const script = `${format}; mount("yaffs2", "MTD", "system", "/system"); ${format}`;
    const got = await collectRun({ device: board, package: await makePackage(script), era: "4.4", profile: "safe" });
    const node = await simulated.nodes.open("/dev/mtd2", "read");
    expect(await node.read(0, 5000)).toEqual(new Uint8Array(5000).fill(0xff));
    expect(mounted).toEqual([{ node: "/dev/block/mtdblock2", at: "/system" }]);
    expect(got.message).toBe("format of system failed: format failed on system: Device or resource busy");
  });

  it("reads the part of a partition that its name defines", async () => {
    const simulated = createSimulatedDevice({
      nodes: { "/dev/block/boot": { kind: "block", size: 8192, content: Buffer.from("hello world\n") } },
    });
    const sha = "22596363b3de40b06f981fb85d82312e8c0ed511";
    const script = (name: string): string => `sha1_check(read_file("EMMC:/dev/block/boot:12:${name}"), "${sha}")`;
    for (const [name, result] of [
      [sha, sha],
      [sha.replace("2", "3"), ""],
    ] as const) {
      const reader = await makePackage(script(name));
      expect(await collectRun({ device: simulated, package: reader, era: "4.4", profile: "safe" })).toMatchObject({
        result,
      });
    }
  });

  it("wipes as many bytes as it is told in C syntax, and nothing for a number that is none", async () => {
    for (const [length, zeros, exitCode] of [
      ["0x1000", 4096, 0],
      ["4096", 4096, 0],
      ["all", 0, 7],
      ["-1", 0, 7],
    ] as const) {
      const content = new Uint8Array(8192).fill(7);
      const simulated = createSimulatedDevice({ nodes: { "/dev/block/b": { kind: "block", content } } });
      const reader = await makePackage(`wipe_block_device("/dev/block/b", "${length}")`);
      expect(await collectRun({ device: simulated, package: reader, era: "7.1", profile: "safe" })).toMatchObject({
        exitCode,
      });
      const node = await simulated.nodes.open("/dev/block/b", "read");
      expect((await node.read(0, 8192)).filter((b) => b === 0)).toHaveLength(zeros);
    }
  });

  it("tells a partition that is not there from one that is too short", async () => {
    const { log, pipe } = await run('range_sha1("/w/a.txt", "2,0,1"); abort("E1: x");', { era: "7.1" });
    expect(log).toContain("failed to read /w/a.txt: ");
    expect(pipe).toContain("log cause: 104");
  });

  it("takes no text out of compiled file_contexts, and says that it does not read them", async () => {
    const compiled = Buffer.from("\x8a\xff\x7c\xf9\x02\0\0\0\n/w(/.*)? u:object_r:odd:s0\n", "latin1");
    const simulated = createSimulatedDevice({ files: { "/file_contexts.bin": compiled, "/w": { kind: "folder" } } });
    const reader = await makePackage('package_extract_dir("d", "/w")', entries);
    const got = await collectRun({ device: simulated, package: reader, era: "7.1", profile: "safe" });
    expect(got.pipe).toEqual(["ui_print script succeeded: result was [t]"]);
    expect(got.log).toContain("compiled rules are not read");
    expect((await readTree(simulated, "/w", { labels: "text" }))["/one.txt"]?.xattr).toBeUndefined();
  });
});
