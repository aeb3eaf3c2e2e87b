/**
 * `otaforge demo`: the main job on small real input, offline. It runs the commands a user would type, as processes of their
 * own, on two versions of a small camera root file system that come with the toolkit, and proves the result.
 */
import { spawn } from "node:child_process";
import { cp, mkdir, mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { OtaError } from "../../core/errors.ts";
import { formatBytes } from "../../core/progress.ts";
import { newCommand, type Subcommand } from "../command.ts";
import type { Io } from "../io.ts";
import { printReport, type SharedValues } from "../options.ts";

const BIN = fileURLToPath(new URL("../../../bin/", import.meta.url));
const DATA = fileURLToPath(new URL("../../../demo/", import.meta.url));

/** Sizes of the demo board's partitions, bytes. */
const KERNEL_SIZE = 64 * 1024;
const ROOTFS_SIZE = 256 * 1024;
const VOLUME_SIZE = 512 * 1024;

const BEGIN_SCRIPT = `#!/bin/sh
# Runs before the first write: stop what uses the partitions.
killall recorder 2>/dev/null
umount /app 2>/dev/null
exit 0
`;
const END_SCRIPT = `#!/bin/sh
# Runs at the end in any case; OTA_STATUS is 0 after success, -1 otherwise.
[ "$OTA_STATUS" = 0 ] && echo updated >/tmp/ota-result
exit 0
`;
const ENVIRONMENT_SCRIPT = `/etc/fw_setenv rootfs_version 2.0
`;

const DEVICE = {
  family: "sigmastar",
  hardware: "demo-camera",
  root: "board",
  nodes: {
    "/dev/mtd4": { file: "mtd4.img", kind: "block", size: KERNEL_SIZE },
    "/dev/mtd5": { file: "mtd5.img", kind: "block", size: ROOTFS_SIZE },
    "/dev/ubi0_1": { file: "ubi0_1.img", kind: "ubi", size: VOLUME_SIZE },
  },
  keys: ["release.pub.pem"],
  minimumVersion: "1.0",
};

interface Step {
  readonly command: string;
  readonly seconds: number;
}

/** Runs commands in one folder, shows them as a user would type them, and keeps the time each took. */
class Stage {
  readonly folder: string;
  readonly steps: Step[] = [];
  readonly #io: Io;
  readonly #quiet: boolean;

  constructor(folder: string, io: Io, quiet: boolean) {
    this.folder = folder;
    this.#io = io;
    this.#quiet = quiet;
  }

  say(text: string): void {
    if (!this.#quiet) this.#io.out(text);
  }

  /** Runs `bin/NAME ARGS`; its output is shown indented. Gives standard output. @throws OtaError USAGE when it fails */
  async run(name: string, ...args: string[]): Promise<string> {
    const command = [name, ...args].join(" ");
    this.say(`\n$ ${command}\n`);
    const start = performance.now();
    const child = spawn(process.execPath, [join(BIN, name), ...args], {
      cwd: this.folder,
      stdio: ["ignore", "pipe", "pipe"],
      env: { ...process.env, OTAFORGE_SIGMASTAR_GENERATION: "v1.6" },
    });
    let output = "";
    let errors = "";
    child.stdout.on("data", (chunk: Buffer) => (output += chunk.toString()));
    child.stderr.on("data", (chunk: Buffer) => (errors += chunk.toString()));
    const code = await new Promise<number | null>((done, fail) => {
      child.on("error", fail);
      child.on("close", done);
    });
    this.steps.push({ command, seconds: (performance.now() - start) / 1000 });
    this.say(output.replaceAll(/^(?=.)/gm, "  "));
    if (code !== 0) {
      throw new OtaError("USAGE", {
        what: `the demo's command failed with exit code ${code}`,
        where: command,
        found: errors,
      });
    }
    return output;
  }

  path(name: string): string {
    return join(this.folder, name);
  }
}

/** All files below a folder with their content, by relative path. */
async function tree(folder: string): Promise<Map<string, Buffer>> {
  const files = new Map<string, Buffer>();
  for (const entry of await readdir(folder, { recursive: true, withFileTypes: true })) {
    if (!entry.isFile()) continue;
    const path = join(entry.parentPath, entry.name);
    files.set(path.slice(folder.length + 1), await readFile(path));
  }
  return files;
}

async function prepareBoard(stage: Stage): Promise<void> {
  await mkdir(stage.path("board"));
  await cp(join(DATA, "rootfs-1.0"), stage.path("board/app"), { recursive: true });
  const partition = async (name: string, content: Buffer, size: number): Promise<void> => {
    const bytes = Buffer.alloc(size);
    content.copy(bytes);
    await writeFile(stage.path(name), bytes);
  };
  const old = await readFile(join(DATA, "rootfs-1.0.sqfs"));
  await partition("mtd4.img", await readFile(join(DATA, "rootfs-1.0/usr/bin/recorder")), KERNEL_SIZE);
  await partition("mtd5.img", old, ROOTFS_SIZE);
  await partition("ubi0_1.img", old, VOLUME_SIZE);
  await writeFile(stage.path("DEVICE.json"), JSON.stringify(DEVICE, null, 2));
  await writeFile(stage.path("begin.sh"), BEGIN_SCRIPT);
  await writeFile(stage.path("end.sh"), END_SCRIPT);
  await writeFile(stage.path("rootfs_otaenv.sh"), ENVIRONMENT_SCRIPT);
  for (const version of ["1.0", "2.0"]) {
    await cp(join(DATA, `rootfs-${version}`), stage.path(`rootfs-${version}`), { recursive: true });
    await cp(join(DATA, `rootfs-${version}.sqfs`), stage.path(`rootfs-${version}.sqfs`));
  }
}

/** Compares the board with what it must hold; gives the names of what differs. */
async function differences(stage: Stage): Promise<string[]> {
  const wrong: string[] = [];
  const starts = async (file: string, wanted: string): Promise<void> => {
    const [have, want] = [await readFile(stage.path(file)), await readFile(join(DATA, wanted))];
    if (!have.subarray(0, want.length).equals(want)) wrong.push(file);
  };
  await starts("mtd4.img", "rootfs-2.0/usr/bin/recorder");
  await starts("mtd5.img", "rootfs-2.0.sqfs");
  await starts("ubi0_1.img", "rootfs-2.0.sqfs");
  const [have, want] = [await tree(stage.path("board/app")), await tree(join(DATA, "rootfs-2.0"))];
  for (const name of new Set([...have.keys(), ...want.keys()])) {
    if (have.get(name)?.equals(want.get(name) ?? Buffer.of(0)) !== true) wrong.push(`board/app/${name}`);
  }
  return wrong;
}

async function playThrough(stage: Stage): Promise<Record<string, unknown>> {
  await prepareBoard(stage);
  stage.say(
    "A camera runs version 1.0 of a small root file system: a raw partition with a program, a raw partition and a\n",
  );
  stage.say(
    "UBI volume with squashfs images, and a folder of files. This builds the package that brings version 2.0.\n",
  );
  await stage.run("otapack", "-c", "SStarOta.bin", "-b", "begin.sh", "-e", "end.sh");
  const append = (...args: string[]): Promise<string> => stage.run("otapack", "-a", "SStarOta.bin", ...args);
  await append("-s", "rootfs-2.0/usr/bin/recorder", "-d", "/dev/mtd4", "-t", String(KERNEL_SIZE), "--block-update");
  await append("-o", "rootfs-1.0.sqfs", "-n", "rootfs-2.0.sqfs", "-d", "/dev/mtd5", "--file-update-diff");
  await append("-s", "rootfs-2.0.sqfs", "-d", "/dev/ubi0_1", "-t", String(VOLUME_SIZE), "--ubi-update");
  await append("-o", "rootfs-1.0", "-n", "rootfs-2.0", "-d", "/app", "--dir-update-diff");
  await append("-s", "rootfs_otaenv.sh", "-d", "rootfs_otaenv.sh", "--script-add");
  await stage.run("otaforge", "inspect", "SStarOta.bin");
  await stage.run("otaforge", "keygen", "release");
  const sign = ["--key", "release.pem", "--package-version", "2.0", "--hardware", "demo-camera"];
  await stage.run("otaforge", "sign", "SStarOta.bin", ...sign);
  await stage.run("otaforge", "verify", "SStarOta.bin", "--key", "release.pub.pem");
  const rehearsal = await stage.run("otaforge", "rehearse", "SStarOta.bin", "--device", "DEVICE.json", "--json");
  await stage.run("otaforge", "install", "SStarOta.bin", "--device", "DEVICE.json");
  const wrong = await differences(stage);
  return { rehearsal: JSON.parse(rehearsal) as unknown, equal: wrong.length === 0, differences: wrong };
}

export const demoCommand: Subcommand = {
  async build(io, done) {
    return newCommand("demo", io)
      .description(
        "Builds, inspects, signs, rehearses and installs a package for a small camera, offline, and proves the result.",
      )
      .option("--keep <dir>", "work in this new folder and keep it")
      .option("--json", "print JSON on standard output and nothing else there")
      .action(async (values: SharedValues & { keep?: string }) => {
        const folder =
          values.keep === undefined ? await mkdtemp(join(tmpdir(), "otaforge-demo-")) : resolve(io.cwd, values.keep);
        if (values.keep !== undefined) await mkdir(folder);
        const stage = new Stage(folder, io, values.json === true);
        const start = performance.now();
        try {
          const facts = await playThrough(stage);
          const seconds = (performance.now() - start) / 1000;
          const size = (await readFile(stage.path("SStarOta.bin"))).length;
          const equal = facts["equal"] === true;
          const { cuts, broken } = facts["rehearsal"] as { cuts: number; broken: number };
          const text = equal
            ? `\nThe board holds version 2.0 in every partition, volume and file: byte for byte what was built.\n` +
              `Package ${formatBytes(size)}, ${cuts} power cuts rehearsed, ${broken} left a broken device, ${seconds.toFixed(1)} s in all.`
            : `\nThe board differs from what was built: ${(facts["differences"] as string[]).join(", ")}`;
          const json = { ...facts, packageBytes: size, seconds, steps: stage.steps };
          done(printReport({ text, json, exitCode: equal && broken === 0 ? 0 : 70 }, values, io));
        } finally {
          if (values.keep === undefined) await rm(folder, { recursive: true, force: true });
        }
      });
  },
};
