/**
 * The files inside file system images of an image device: as root on Linux an image is mounted through a loop device when the first
 * of its files is touched, so that owners, modes, labels and capabilities are the file system's own.
 *
 * A mount outlives a killed process. Its folder is therefore named after the process and the image: the next start finds what a dead
 * process left on the same image and unmounts it before anything writes to the image behind the kernel's back.
 */
import { createHash } from "node:crypto";
import { existsSync, mkdirSync, readFileSync, readdirSync, realpathSync, rmdirSync, statSync } from "node:fs";
import { join } from "node:path";
import { OtaError } from "../../core/index.ts";
import { parseMounts } from "../board/board-mounts.ts";
import { nodeProcesses } from "../processes.ts";
import type { RunProgram } from "../run-program.ts";
import { deviceError } from "../system-errors.ts";

/** Only root writes there, and nobody looks for files of his own to delete: what is below is the inside of images. */
const MOUNT_FOLDER = "/run/otaforge";

/** Nothing inside an image is for this machine: no device nodes, no programs, no set-uid. */
const MOUNT_OPTIONS = "loop,noatime,nodev,nosuid,noexec";

/**
 * What Android's make_ext4fs makes: kernels of its time refuse the features that today's mkfs.ext4 adds (checksums of metadata,
 * 64-bit block numbers, orphan file).
 */
const EXT4_FEATURES = "none,has_journal,ext_attr,resize_inode,filetype,extent,sparse_super,large_file,uninit_bg";
const EXT4_BLOCK = 4096;

/** A file system image of the description. */
export interface LoopImage {
  readonly file: string;
  readonly fsType: string;
  readonly readOnly: boolean;
}

/** One image's way from file to folder and back. */
export interface ImageLoop {
  /** Folder with the files of the image; mounts or unpacks it when it is not. @throws OtaError UNSUPPORTED, DEVICE_BUSY, DEVICE_IO */
  folder(): Promise<string>;
  /** Unmounts or packs the image when it was open: its file then holds every change. @throws OtaError DEVICE_BUSY, DEVICE_NO_SPACE, DEVICE_IO */
  release(): Promise<void>;
  /** Makes an empty file system in the image. `sizeBytes`: default the whole image. @throws OtaError DEVICE_* */
  format(fsType: string, sizeBytes?: number): Promise<void>;
}

/** Bit of the capability that mounting takes. */
const CAP_SYS_ADMIN = 21n;

/** Whether this process can mount images: root's right to do so, and loop devices, both of which containers often lack. */
export function mountsImages(): boolean {
  if (process.platform !== "linux" || !existsSync("/dev/loop-control")) return false;
  const effective = /^CapEff:\s*([0-9a-f]+)$/m.exec(readFileSync("/proc/self/status", "utf8"))?.[1] ?? "0";
  return ((BigInt(`0x${effective}`) >> CAP_SYS_ADMIN) & 1n) === 1n;
}

const needFolder = (): string => {
  mkdirSync(MOUNT_FOLDER, { recursive: true, mode: 0o700 });
  return MOUNT_FOLDER;
};

/** The end of the names of an image's mount folders. */
const imageMark = (file: string): string => createHash("sha256").update(realpathSync(file)).digest("hex").slice(0, 16);

/** Whether the process that made a folder `PID.START.MARK` lives. */
async function ownerLives(name: string): Promise<boolean> {
  const [pid = "", start] = name.split(".");
  return (await nodeProcesses.started(Number(pid))) === start;
}

async function need(run: RunProgram, program: string, args: readonly string[], where: string): Promise<void> {
  const { exitCode, stderr } = await run(program, args);
  if (exitCode === 0) return;
  const busy = /busy/i.test(stderr);
  throw new OtaError(busy ? "DEVICE_BUSY" : "DEVICE_IO", {
    what: `${program} failed on a file system image`,
    where,
    found: stderr.trim().split("\n")[0]?.replace(/\.$/, "") ?? `exit code ${exitCode}`,
    ...(busy ? { hint: "Leave its folder with every shell and program, then run the command again." } : {}),
  });
}

async function unmountFolder(run: RunProgram, folder: string): Promise<void> {
  const mounted = parseMounts(readFileSync("/proc/self/mounts", "utf8")).some(({ at }) => at === folder);
  if (mounted) await need(run, "umount", ["--", folder], folder);
  rmdirSync(folder);
}

/**
 * Unmounts what killed processes left mounted of these images.
 * @throws OtaError DEVICE_BUSY when a program still uses such a mount, DEVICE_IO
 */
export async function releaseLeftovers(files: readonly string[], run: RunProgram): Promise<void> {
  if (files.length === 0 || !mountsImages() || !existsSync(MOUNT_FOLDER)) return;
  const marks = new Set(files.filter((file) => existsSync(file)).map(imageMark));
  for (const name of readdirSync(MOUNT_FOLDER)) {
    if (!marks.has(name.split(".")[2] ?? "") || (await ownerLives(name))) continue;
    await unmountFolder(run, join(MOUNT_FOLDER, name));
  }
}

class Loop implements ImageLoop {
  readonly #image: LoopImage;
  readonly #run: RunProgram;
  /** A mount, also while it is being made: two files touched at once are one mount. */
  #mounted: Promise<string> | undefined;

  constructor(image: LoopImage, run: RunProgram) {
    this.#image = image;
    this.#run = run;
  }

  async folder(): Promise<string> {
    this.#mounted ??= this.#mount().catch((e: unknown) => {
      this.#mounted = undefined;
      throw e;
    });
    return this.#mounted;
  }

  async #mount(): Promise<string> {
    const { file, fsType, readOnly } = this.#image;
    try {
      const mark = imageMark(file);
      for (const name of readdirSync(needFolder())) {
        if (name.split(".")[2] !== mark) continue;
        throw new OtaError("DEVICE_BUSY", {
          what: "the file system image is mounted by another process",
          where: file,
          found: name.split(".")[0] ?? "",
        });
      }
      const start = (await nodeProcesses.started(process.pid)) ?? "";
      const folder = join(MOUNT_FOLDER, `${process.pid}.${start}.${mark}`);
      mkdirSync(folder, { mode: 0o700 });
      const options = readOnly ? `${MOUNT_OPTIONS},ro` : MOUNT_OPTIONS;
      try {
        await need(this.#run, "mount", ["-t", fsType, "-o", options, "--", file, folder], file);
      } catch (e) {
        rmdirSync(folder);
        throw e;
      }
      return folder;
    } catch (e) {
      throw deviceError(e, file) as Error;
    }
  }

  async release(): Promise<void> {
    if (this.#mounted === undefined) return;
    await unmountFolder(this.#run, await this.#mounted);
    this.#mounted = undefined;
  }

  async format(fsType: string, sizeBytes?: number): Promise<void> {
    await formatExt4(this.#image, this.#run, fsType, sizeBytes);
  }
}

/** Makes an empty file system in an image that is not mounted. @throws OtaError DEVICE_*, UNSUPPORTED */
export async function formatExt4(
  { file, readOnly }: LoopImage,
  run: RunProgram,
  fsType: string,
  sizeBytes?: number,
): Promise<void> {
  if (readOnly) throw new OtaError("DEVICE_READ_ONLY", { what: "is read-only", where: file });
  if (fsType !== "ext4") {
    throw new OtaError("UNSUPPORTED", {
      what: "only ext4 is made in a file system image",
      where: file,
      found: fsType,
      hint: "Describe the mount with dir: a folder that stands for it is emptied.",
    });
  }
  let size: number;
  try {
    size = statSync(file).size;
  } catch (e) {
    throw deviceError(e, file) as Error;
  }
  // A negative size leaves that much room at the end.
  const wanted = sizeBytes === undefined ? size : sizeBytes < 0 ? size + sizeBytes : sizeBytes;
  if (wanted > size || wanted < EXT4_BLOCK) {
    throw new OtaError("DEVICE_TOO_SMALL", {
      what: "the file system does not fit into its image",
      where: file,
      expected: `at most ${size} bytes`,
      found: wanted,
    });
  }
  const blocks = String(Math.floor(wanted / EXT4_BLOCK));
  const features = ["-O", EXT4_FEATURES, "-I", "256", "-m", "0", "-E", "root_owner=0:0"];
  await need(run, "mkfs.ext4", ["-F", "-q", "-b", String(EXT4_BLOCK), ...features, "--", file, blocks], file);
}

/** {@link ImageLoop} of an image file. */
export function imageLoop(image: LoopImage, run: RunProgram): ImageLoop {
  return new Loop(image, run);
}
