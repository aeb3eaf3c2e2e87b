/**
 * The files inside an ext4 image for whoever cannot mount it: unpacked into a folder beside the image when the first of them is touched,
 * and made into a new image of the same size, identity and features at the end, with owners, modes, labels and capabilities as noted.
 * The new image takes the old one's place in one step. Needs the programs of e2fsprogs, and no root.
 *
 * A killed process leaves the folder. The next start goes on with it while the image is still the one it was unpacked from.
 */
import { createHash } from "node:crypto";
import {
  closeSync,
  chmodSync,
  existsSync,
  fsyncSync,
  linkSync,
  lutimesSync,
  lstatSync,
  mkdirSync,
  openSync,
  readFileSync,
  readSync,
  readdirSync,
  realpathSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
  writeSync,
} from "node:fs";
import { dirname, join } from "node:path";
import { OtaError, decodeText, encodeText } from "../../core/index.ts";
import type { FileAttributes } from "../../core/index.ts";
import { capabilityAttribute } from "../board/board-labels.ts";
import { AttributeStore } from "../disk/attribute-store.ts";
import { openExt4, type Ext4Image } from "../ext4/ext4-image.ts";
import { openFileReader } from "../file-reader.ts";
import type { RunProgram } from "../run-program.ts";
import { deviceError } from "../system-errors.ts";
import { formatExt4, type ImageLoop, type LoopImage } from "./image-loops.ts";

/** What the folder beside an image is named: `system.img.unpacked`. */
const SUFFIX = ".unpacked";

/** Blocks of Android's images, bytes. */
const FILE_BLOCK = 4096;

/** Written when everything is unpacked. */
interface Marker {
  /** The image it was unpacked from. */
  readonly base: string;
  /** Bytes for contents, in whole blocks. */
  readonly room: number;
  /** The image that takes its place, before it does. */
  readonly packed?: string;
}

/** Tells an image from another one of the same name. */
function identity(file: string): string {
  const { ino, size, mtimeNs } = statSync(file, { bigint: true });
  return `${ino}:${size}:${mtimeNs}`;
}

function flush(path: string): void {
  const fd = openSync(path, "r");
  try {
    fsyncSync(fd);
  } finally {
    closeSync(fd);
  }
}

/** What `dumpe2fs -h` says, by its labels. */
function facts(text: string): (label: string) => string | undefined {
  const found = new Map(
    text.split("\n").flatMap((line) => {
      const colon = line.indexOf(":");
      return colon < 0 ? [] : [[line.slice(0, colon), line.slice(colon + 1).trim()] as const];
    }),
  );
  return (label) => found.get(label);
}

/** {@link ImageLoop} that unpacks, and where it notes the attributes of what it unpacked. */
export interface UnpackedImage extends ImageLoop {
  /** By paths of the device. */
  readonly notes: AttributeStore;
  /** Bytes the image has left for more content. @throws OtaError as {@link ImageLoop.folder} */
  freeBytes(): Promise<number>;
}

class Unpacked implements UnpackedImage {
  readonly #image: LoopImage;
  /** The image file itself, behind links. */
  readonly #file: string;
  readonly #work: string;
  readonly #markerFile: string;
  /** What the paths of the device begin with. */
  readonly #at: string;
  readonly #run: RunProgram;
  readonly notes: AttributeStore;
  #open: Promise<string> | undefined;

  constructor(image: LoopImage, at: string, run: RunProgram) {
    this.#image = image;
    this.#file = existsSync(image.file) ? realpathSync(image.file) : image.file;
    this.#work = this.#file + SUFFIX;
    this.#markerFile = join(this.#work, "image.json");
    this.#at = at === "/" ? "" : at;
    this.#run = run;
    this.notes = new AttributeStore(join(this.#work, "attributes"));
  }

  #marker(): Marker | undefined {
    if (!existsSync(this.#markerFile)) return undefined;
    return JSON.parse(readFileSync(this.#markerFile, "utf8")) as Marker;
  }

  #mark(marker: Marker): void {
    const fresh = `${this.#markerFile}.new`;
    writeFileSync(fresh, JSON.stringify(marker));
    flush(fresh);
    renameSync(fresh, this.#markerFile);
    flush(this.#work);
  }

  async folder(): Promise<string> {
    this.#open ??= this.#take().catch((e: unknown) => {
      this.#open = undefined;
      throw deviceError(e, this.#image.file) as Error;
    });
    return this.#open;
  }

  async #take(): Promise<string> {
    if (!statSync(this.#file).isFile()) {
      throw new OtaError("UNSUPPORTED", {
        what: "files inside a file system image are out of reach",
        where: this.#image.file,
        expected: "a plain file, where images cannot be mounted",
        hint: "Run the command as root on Linux, or describe the mount with dir, a folder with the image's files.",
      });
    }
    const files = join(this.#work, "files");
    const marker = this.#marker();
    const now = identity(this.#file);
    if (marker !== undefined && marker.packed !== now) {
      if (marker.base === now) return files;
      throw new OtaError("DEVICE_BUSY", {
        what: "an earlier run left files unpacked from this image, and the image has changed since",
        where: this.#work,
        hint: "Delete that folder to begin with the image as it is.",
      });
    }
    this.#drop();
    const reader = await openFileReader(this.#file);
    try {
      const image = await openExt4(reader);
      if (image === undefined) {
        throw new OtaError("UNSUPPORTED", {
          what: "the image holds no ext4 file system",
          where: this.#file,
          hint: "Run the command as root on Linux: the kernel knows more file systems.",
        });
      }
      await this.#unpack(image, files);
      this.#mark({ base: now, room: image.freeBytes + usedBytes(files) });
    } finally {
      await reader.close();
    }
    return files;
  }

  /** Forgets what was unpacked, and its notes. */
  #drop(): void {
    this.notes.forget("/");
    rmSync(this.#work, { recursive: true, force: true });
  }

  async freeBytes(): Promise<number> {
    const files = await this.folder();
    const { room } = this.#marker() as Marker;
    return Math.max(0, room - usedBytes(files));
  }

  async #unpack(image: Ext4Image, files: string): Promise<void> {
    mkdirSync(files, { recursive: true, mode: 0o700 });
    const refuse = (path: string): void => {
      throw new OtaError("UNSUPPORTED", {
        what: "the image holds a pipe, socket or device node, which only root can unpack",
        where: path,
        hint: "Run the command as root on Linux.",
      });
    };
    const names = new Map<number, string>();
    const times: [path: Buffer, seconds: number][] = [];
    const own = async (path: "" | "/lost+found"): Promise<void> => {
      const attributes = await image.ownFolder(path);
      if (attributes === undefined) return;
      mkdirSync(files + path, { recursive: true, mode: 0o700 });
      this.#note(path, attributes);
    };
    await own("");
    await own("/lost+found");
    for await (const entry of image.entries(refuse)) {
      const { path, kind, attributes, inode, link, otherAttribute } = entry;
      if (otherAttribute !== undefined) {
        throw new OtaError("UNSUPPORTED", {
          what: "a file of the image has an extended attribute that only root can keep",
          where: path,
          found: otherAttribute,
          hint: "Run the command as root on Linux.",
        });
      }
      const target = Buffer.from(encodeText(files + path));
      const first = kind === "folder" ? undefined : names.get(inode);
      if (kind === "folder") mkdirSync(target, { mode: 0o700 });
      else if (first !== undefined) linkSync(Buffer.from(encodeText(files + first)), target);
      else if (link !== undefined) symlinkSync(Buffer.from(encodeText(link)), target);
      else {
        const fd = openSync(target, "wx", 0o600);
        try {
          for await (const piece of entry.stream()) writeSync(fd, piece);
        } finally {
          closeSync(fd);
        }
      }
      if (first === undefined) names.set(inode, path);
      this.#note(path, attributes);
      times.push([target, entry.mtimeMs / 1000]);
    }
    // Folders last: what is made in them changes theirs.
    for (const [path, seconds] of times.reverse()) lutimesSync(path, seconds, seconds);
  }

  /** Path of the device for one of the image, `""` is its root. */
  #pathOf(path: string): string {
    return `${this.#at}${path}` || "/";
  }

  #note(path: string, attributes: FileAttributes): void {
    this.notes.set(this.#pathOf(path), attributes);
  }

  async #need(program: string, args: readonly string[]): Promise<string> {
    const { exitCode, stdout, stderr } = await this.#run(program, args);
    if (exitCode === 0) return decodeText(stdout);
    const found = stderr
      .split("\n")
      .find((line) => line.trim() !== "" && !/^(mke2fs|dumpe2fs|debugfs) \d/.test(line))
      ?.trim();
    const full = /Could not allocate|No space left|no free space/i.test(stderr);
    throw new OtaError(full ? "DEVICE_NO_SPACE" : "DEVICE_IO", {
      what: full ? "the files do not fit into the image" : `${program} failed on a file system image`,
      where: this.#file,
      found: found ?? `exit code ${exitCode}`,
      hint: `The image is as it was; what would be in it lies in ${this.#work}.`,
    });
  }

  async release(): Promise<void> {
    if (this.#open === undefined) return;
    const files = await this.#open;
    try {
      if (!this.#image.readOnly) await this.#pack(files);
      this.#drop();
    } catch (e) {
      throw deviceError(e, this.#image.file) as Error;
    }
    this.#open = undefined;
  }

  async #pack(files: string): Promise<void> {
    const file = this.#file;
    const fact = facts(await this.#need("dumpe2fs", ["-h", file]));
    const needed = (label: string): string => {
      const value = fact(label);
      if (value === undefined) throw new OtaError("DEVICE_IO", { what: `dumpe2fs does not say ${label}`, where: file });
      return value;
    };
    const blocks = Number(needed("Block count"));
    const blockSize = Number(needed("Block size"));
    const label = fact("Filesystem volume name");
    const journal = /^(\d+)k$/i.exec(fact("Total journal size") ?? fact("Journal size") ?? "")?.[1];
    const seed = fact("Directory Hash Seed");
    const extended = ["root_owner=0:0", "nodiscard", ...(seed === undefined ? [] : [`hash_seed=${seed}`])];
    const args = [
      ...["-q", "-F", "-t", "ext4", "-b", String(blockSize), "-I", needed("Inode size"), "-N", needed("Inode count")],
      ...["-O", `none,${needed("Filesystem features").split(/\s+/).join(",")}`, "-U", needed("Filesystem UUID")],
      ...["-m", String((100 * Number(needed("Reserved block count"))) / blocks), "-E", extended.join(",")],
      ...(label === undefined || label === "<none>" ? [] : ["-L", label]),
      ...(journal === undefined ? [] : ["-J", `size=${Math.max(1, Math.floor(Number(journal) / 1024))}`]),
    ];
    const fresh = join(this.#work, "new.img");
    const script = join(this.#work, "debugfs");
    // With what lies behind the file system, and its own mode.
    const { size, mode } = statSync(file);
    writeFileSync(fresh, "");
    chmodSync(fresh, mode & 0o777);
    truncateSync(fresh, size);
    copyTail(file, fresh, blocks * blockSize);
    await this.#need("mke2fs", [...args, "-d", files, fresh, String(blocks)]);
    writeFileSync(script, this.#script(files));
    await this.#need("debugfs", ["-w", "-f", script, fresh]);
    await this.#need("e2fsck", ["-fn", fresh]);
    flush(fresh);
    this.#mark({ ...(this.#marker() as Marker), packed: identity(fresh) });
    renameSync(fresh, file);
    flush(dirname(file));
  }

  /** Commands of debugfs that give every file its attributes. */
  #script(files: string): string {
    const lines: string[] = [];
    const values = new Map<string, string>();
    const value = (bytes: Uint8Array): string => {
      const key = Buffer.from(bytes).toString("hex");
      const known = values.get(key);
      if (known !== undefined) return known;
      const path = join(this.#work, `value-${createHash("sha256").update(key).digest("hex").slice(0, 16)}`);
      writeFileSync(path, bytes);
      values.set(key, path);
      return path;
    };
    const visit = (path: string): void => {
      const stat = lstatSync(Buffer.from(encodeText(files + path)));
      const { uid = 0, gid = 0, mode, selinuxLabel, capabilities } = this.notes.get(this.#pathOf(path)) ?? {};
      const name = quoted(path === "" ? "/" : path);
      lines.push(`set_inode_field ${name} uid ${uid}`, `set_inode_field ${name} gid ${gid}`);
      if (!stat.isSymbolicLink()) {
        const exact = (stat.mode & ~0o7777) | (mode ?? stat.mode & 0o7777);
        lines.push(`set_inode_field ${name} mode 0${exact.toString(8)}`);
      }
      if (selinuxLabel !== undefined) {
        lines.push(`ea_set -f ${quoted(value(encodeText(`${selinuxLabel}\0`)))} ${name} security.selinux`);
      }
      if (capabilities !== undefined && capabilities !== 0n) {
        lines.push(`ea_set -f ${quoted(value(capabilityAttribute(capabilities)))} ${name} security.capability`);
      }
      if (!stat.isDirectory()) return;
      for (const child of readdirSync(Buffer.from(encodeText(files + path)), { encoding: "buffer" })) {
        visit(`${path}/${decodeText(child)}`);
      }
    };
    visit("");
    return `${lines.join("\n")}\n`;
  }

  async format(fsType: string, sizeBytes?: number): Promise<void> {
    await formatExt4(this.#image, this.#run, fsType, sizeBytes);
    this.#drop();
  }
}

/** A word of debugfs: in quotes, which are doubled inside. */
function quoted(path: string): string {
  if (/[\n\r\0]/.test(path)) {
    throw new OtaError("UNSUPPORTED", {
      what: "a name with a line break cannot be put into a file system image without root",
      where: JSON.stringify(path),
      hint: "Run the command as root on Linux.",
    });
  }
  return `"${path.replaceAll('"', '""')}"`;
}

/** What lies behind the file system: signatures, hash trees. */
function copyTail(from: string, to: string, at: number): void {
  const [source, target] = [openSync(from, "r"), openSync(to, "r+")];
  try {
    const piece = Buffer.alloc(1 << 20);
    for (let offset = at; ;) {
      const count = readSync(source, piece, 0, piece.length, offset);
      if (count === 0) return;
      writeSync(target, piece, 0, count, offset);
      offset += count;
    }
  } finally {
    closeSync(source);
    closeSync(target);
  }
}

/** Blocks that files and folders take in an image, bytes. */
function usedBytes(folder: string | Buffer): number {
  let used = 0;
  for (const name of readdirSync(folder, { encoding: "buffer" })) {
    const path = Buffer.concat([Buffer.from(folder), Buffer.from("/"), name]);
    const stat = lstatSync(path);
    if (stat.isDirectory()) used += FILE_BLOCK + usedBytes(path);
    else if (stat.isFile()) used += Math.ceil(stat.size / FILE_BLOCK) * FILE_BLOCK;
  }
  return used;
}

/** {@link ImageLoop} of an ext4 image that cannot be mounted. `at`: the folder of the device its files are seen at. */
export function unpackedImage(image: LoopImage, at: string, run: RunProgram): UnpackedImage {
  return new Unpacked(image, at, run);
}
