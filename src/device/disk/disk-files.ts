/** Real files: those of a board, or a folder that stands for a board's files. */
import {
  closeSync,
  constants,
  fchmodSync,
  fstatSync,
  lchownSync,
  linkSync,
  lstatSync,
  mkdirSync,
  openSync,
  readdirSync,
  readlinkSync,
  renameSync,
  rmdirSync,
  symlinkSync,
  unlinkSync,
} from "node:fs";
import type { Stats } from "node:fs";
import { chmod, lutimes, open, statfs } from "node:fs/promises";
import type { FileHandle } from "node:fs/promises";
import { OtaError, compareBytes, decodeText, encodeText } from "../../core/index.ts";
import type { FileAttributes, FileInfo, FileStore, OpenFile, OpenMode } from "../../core/index.ts";
import { isInside, normalPath, pathParts } from "../paths.ts";
import { deviceError, systemCode } from "../system-errors.ts";
import type { AttributeStore } from "./attribute-store.ts";
import { DiskFile } from "./disk-file.ts";
import { openFolder } from "./folder-handle.ts";
import type { FolderHandle } from "./folder-handle.ts";

const TMPFS = 0x01021994;
const RAMFS = 0x858458f6;

/** A real folder and where it is seen on the device. */
export interface DiskArea {
  /** Folder on the device, normal spelling. */
  readonly at: string;
  /** Real folder; undefined when {@link DiskArea.openFolder} gives it. */
  readonly folder: string | undefined;
  /** A file system image: its files are reached by mounting or unpacking it. */
  readonly openFolder?: () => Promise<string>;
  /** Where the attributes of an unpacked image are noted; those of a mounted one are its own. */
  readonly notes?: AttributeStore;
  readonly readOnly?: boolean;
  readonly freeBytes?: number | (() => Promise<number>);
  readonly volatile?: boolean;
}

/** Labels and capabilities where the kernel keeps them; folders of an image device have theirs noted. */
export interface LabelTool {
  set(path: Buffer, attributes: FileAttributes): Promise<void>;
  get(path: Buffer): Promise<Pick<FileAttributes, "selinuxLabel" | "capabilities">>;
}

export interface DiskFilesOptions {
  readonly areas: readonly DiskArea[];
  /** Image device: where attributes are noted that the real files cannot have. */
  readonly noted?: AttributeStore;
  /** Labels and capabilities of real files: on a board, and inside file system images. */
  readonly labels?: LabelTool;
}

function kindOf(stat: Stats): FileInfo["kind"] {
  if (stat.isFile()) return "file";
  if (stat.isDirectory()) return "folder";
  return stat.isSymbolicLink() ? "link" : "other";
}

function error(code: ConstructorParameters<typeof OtaError>[0], what: string, where: string): OtaError {
  return new OtaError(code, { what, where });
}

/** Most that is looked at of a file of procfs, bytes. */
const MAX_PROC_FILE = 1 << 20;

/** Bytes of a file whose size is given as 0: files of procfs (`/proc/mtd`) have content all the same. */
async function sizeByReading(file: FileHandle): Promise<number> {
  const buffer = new Uint8Array(4096);
  let size = 0;
  while (size < MAX_PROC_FILE) {
    const { bytesRead } = await file.read(buffer, 0, buffer.length, size);
    if (bytesRead === 0) break;
    size += bytesRead;
  }
  return size;
}

/** A path that was walked: the folder is open, the name has not been looked at. */
interface Place {
  readonly area: DiskArea;
  readonly folder: FolderHandle;
  /** Empty for the root of an area. */
  readonly name: string;
  /** For system calls. */
  readonly at: Buffer;
  /** On the device. */
  readonly path: string;
}

/** Path of a place for calls that follow no link: the handle of an area's root is itself one. */
function throughRoot({ name, at }: Place): Buffer {
  return name === "" ? Buffer.concat([at, Buffer.from("/.")]) : at;
}

class DiskFiles implements FileStore {
  readonly #areas: readonly DiskArea[];
  readonly #noted: AttributeStore | undefined;
  readonly #labels: LabelTool | undefined;

  constructor({ areas, noted, labels }: DiskFilesOptions) {
    this.#areas = areas;
    this.#noted = noted;
    this.#labels = labels;
  }

  async #area(path: string): Promise<DiskArea & { readonly folder: string }> {
    let best: DiskArea | undefined;
    for (const area of this.#areas) {
      if (isInside(path, area.at) && (best === undefined || area.at.length > best.at.length)) best = area;
    }
    const folder = best?.folder ?? (await best?.openFolder?.());
    if (best !== undefined && folder !== undefined) return { ...best, folder };
    if (best !== undefined) {
      throw new OtaError("UNSUPPORTED", {
        what: "nothing stands for the files of this mount",
        where: path,
        hint: "Describe the mount with dir (a folder with its files) or image (a file system image).",
      });
    }
    throw new OtaError("DEVICE_NOT_FOUND", {
      what: "nothing stands for this path",
      where: path,
      hint: "Give the device description a root, or a mount with dir.",
    });
  }

  /** Where an area's attributes are noted: nowhere when its files hold them. */
  #notes(area: DiskArea): AttributeStore | undefined {
    return area.notes ?? (area.openFolder === undefined ? this.#noted : undefined);
  }

  /** Walks to a path and lets `work` use it. System errors become typed ones. */
  async #at<T>(given: string, work: (place: Place) => T | Promise<T>): Promise<T> {
    const path = normalPath(given);
    const area = await this.#area(path);
    const parts = pathParts(path.slice(area.at === "/" ? 0 : area.at.length) || "/");
    const name = parts.pop() ?? "";
    const folder = openFolder(area.folder, parts, path);
    try {
      return await work({ area, folder, name, at: name === "" ? folder.self : folder.child(name), path });
    } catch (e) {
      throw deviceError(e, path) as Error;
    } finally {
      folder.close();
    }
  }

  /** Like {@link #at} for a name that may be made, removed or changed. */
  async #writable<T>(path: string, work: (place: Place) => T | Promise<T>): Promise<T> {
    return this.#at(path, (place) => {
      if (place.area.readOnly === true) throw error("DEVICE_READ_ONLY", "is read-only", place.path);
      if (place.name === "") throw error("DEVICE_BUSY", "is the root of a file system", place.path);
      return work(place);
    });
  }

  /** `lstat` that sees through the handle of an area's root. */
  #lstat(place: Place): Stats | undefined {
    return lstatSync(throughRoot(place), { throwIfNoEntry: false });
  }

  async stat(path: string): Promise<FileInfo | undefined> {
    try {
      return await this.#at(path, (place) => {
        const stat = this.#lstat(place);
        if (stat === undefined) return undefined;
        const noted = this.#notes(place.area)?.get(place.path);
        const kind = kindOf(stat);
        return {
          kind,
          size: kind === "folder" ? 0 : stat.size,
          mode: (kind === "link" ? undefined : noted?.mode) ?? stat.mode % 0o10000,
          uid: noted?.uid ?? stat.uid,
          gid: noted?.gid ?? stat.gid,
          mtimeMs: stat.mtimeMs,
        };
      });
    } catch (e) {
      if (e instanceof OtaError && e.code === "DEVICE_NOT_FOUND") return undefined;
      throw e;
    }
  }

  async list(path: string): Promise<string[]> {
    return this.#at(path, (place) => {
      const stat = this.#lstat(place);
      if (stat?.isSymbolicLink() === true) throw error("DEVICE_LINK_REFUSED", "is a symbolic link", place.path);
      const names = readdirSync(Buffer.concat([place.at, Buffer.from("/")]), { encoding: "buffer" });
      return names.sort(compareBytes).map((name) => decodeText(name));
    });
  }

  async open(path: string, how: OpenMode, mode = 0o644): Promise<OpenFile> {
    return this.#at(path, async (place) => {
      if (how !== "read" && place.area.readOnly === true) throw error("DEVICE_READ_ONLY", "is read-only", place.path);
      const before = this.#lstat(place);
      if (how === "create-new" && before !== undefined && !before.isSymbolicLink()) {
        throw error("DEVICE_EXISTS", "exists already", place.path);
      }
      if (place.name === "") throw error("DEVICE_NOT_FILE", "is a folder", place.path);
      if (before !== undefined) this.#refuseOddKinds(before, place.path);
      const file = await this.#openOrMake(place, how, mode);
      try {
        // Checked again on the open file: whatever was there before may have been exchanged.
        const stat = await file.stat();
        if (!stat.isFile()) throw error("DEVICE_NOT_FILE", "is no regular file", place.path);
        if (how === "create" && stat.size > 0) await file.truncate(0);
        const size = how === "create" ? 0 : stat.size > 0 ? stat.size : await sizeByReading(file);
        return new DiskFile(file, size, place.path, how !== "read");
      } catch (e) {
        await file.close();
        throw e;
      }
    });
  }

  #refuseOddKinds(stat: Stats, path: string): void {
    if (stat.isSymbolicLink()) {
      throw error("DEVICE_LINK_REFUSED", "is a symbolic link, which is not followed", path);
    }
    if (!stat.isFile()) throw error("DEVICE_NOT_FILE", stat.isDirectory() ? "is a folder" : "is no file", path);
  }

  async #openOrMake(place: Place, how: OpenMode, mode: number): Promise<FileHandle> {
    const { O_RDONLY, O_RDWR, O_CREAT, O_EXCL, O_NOFOLLOW, O_NONBLOCK } = constants;
    const safe = O_NOFOLLOW | O_NONBLOCK;
    const { at } = place;
    if (how === "read") return open(at, O_RDONLY | safe);
    if (how === "update") return open(at, O_RDWR | safe);
    const made = await open(at, O_RDWR | O_CREAT | O_EXCL | safe, 0o600).catch((e: unknown) => {
      if (how === "create" && systemCode(e) === "EEXIST") return undefined;
      throw e;
    });
    if (made === undefined) return open(at, O_RDWR | safe);
    // The mode is exact, whatever the umask.
    await made.chmod(this.#realMode(place, mode, false));
    this.#note(place, { mode }, made.fd);
    return made;
  }

  /** On an image the user must be able to work with the files, whatever their mode on the board is. */
  #realMode({ area }: Place, mode: number, isFolder: boolean): number {
    if (this.#notes(area) === undefined || process.getuid?.() === 0) return mode;
    return mode | (isFolder ? 0o700 : 0o600);
  }

  /** Notes attributes that the real file does not have, and forgets the others. */
  #note({ area, path }: Place, attributes: FileAttributes, real: number | Stats): void {
    const notes = this.#notes(area);
    if (notes === undefined) return;
    const stat = typeof real === "number" ? fstatSync(real) : real;
    const wanted = { ...notes.get(path), ...attributes };
    const { uid, gid, mode, capabilities, ...others } = wanted;
    // Of an unpacked image everything is noted that was ever said: what was not is as root makes it there.
    const kept = area.notes === undefined ? stat : undefined;
    notes.set(path, {
      ...(uid === undefined || uid === kept?.uid ? {} : { uid }),
      ...(gid === undefined || gid === kept?.gid ? {} : { gid }),
      ...(mode === undefined || mode === stat.mode % 0o10000 ? {} : { mode }),
      ...(capabilities === undefined || capabilities === 0n ? {} : { capabilities }),
      ...others,
    });
  }

  async makeFolder(path: string, mode = 0o755): Promise<void> {
    const parts = pathParts(path);
    for (let i = 1; i <= parts.length; i++) {
      const part = `/${parts.slice(0, i).join("/")}`;
      const exact = i === parts.length ? mode : 0o755;
      await this.#at(part, (place) => this.#makeOne(place, exact, i === parts.length));
    }
  }

  #makeOne(place: Place, mode: number, isLast: boolean): void {
    const stat = this.#lstat(place);
    if (stat?.isDirectory() === true) return;
    if (stat?.isSymbolicLink() === true) {
      throw error("DEVICE_LINK_REFUSED", "is a symbolic link, which is not followed", place.path);
    }
    if (stat !== undefined) throw error(isLast ? "DEVICE_EXISTS" : "DEVICE_NOT_FOLDER", "is no folder", place.path);
    if (place.area.readOnly === true) throw error("DEVICE_READ_ONLY", "is read-only", place.path);
    mkdirSync(place.at, 0o700);
    const fd = openSync(place.at, constants.O_RDONLY | constants.O_DIRECTORY | constants.O_NOFOLLOW);
    try {
      fchmodSync(fd, this.#realMode(place, mode, true));
      this.#note(place, { mode }, fd);
    } finally {
      closeSync(fd);
    }
  }

  async rename(from: string, to: string): Promise<void> {
    await this.#writable(from, (source) =>
      this.#writable(to, (target) => {
        if (this.#lstat(source) === undefined) throw error("DEVICE_NOT_FOUND", "does not exist", source.path);
        if (source.area.folder !== target.area.folder) {
          throw error("DEVICE_OTHER_FILE_SYSTEM", "lies on another file system", target.path);
        }
        const [a, b] = [this.#lstat(source), this.#lstat(target)];
        renameSync(source.at, target.at);
        const same = a !== undefined && b !== undefined && a.ino === b.ino && a.dev === b.dev;
        if (!same) this.#notes(source.area)?.move(source.path, target.path);
      }),
    );
  }

  async remove(path: string): Promise<void> {
    await this.#writable(path, (place) => {
      const stat = this.#lstat(place);
      if (stat === undefined) throw error("DEVICE_NOT_FOUND", "does not exist", place.path);
      if (stat.isDirectory()) rmdirSync(place.at);
      else unlinkSync(place.at);
      this.#notes(place.area)?.forget(place.path);
    });
  }

  async readLink(path: string): Promise<string> {
    return this.#at(path, (place) => decodeText(readlinkSync(throughRoot(place), "buffer")));
  }

  async makeLink(path: string, text: string): Promise<void> {
    await this.#writable(path, ({ at }) => symlinkSync(Buffer.from(encodeText(text)), at));
  }

  async makeHardLink(existing: string, path: string): Promise<void> {
    await this.#at(existing, (source) =>
      this.#writable(path, (target) => {
        const stat = this.#lstat(source);
        if (stat === undefined) throw error("DEVICE_NOT_FOUND", "does not exist", source.path);
        this.#refuseOddKinds(stat, source.path);
        if (this.#lstat(target) !== undefined) throw error("DEVICE_EXISTS", "exists already", target.path);
        if (source.area.folder !== target.area.folder) {
          throw error("DEVICE_OTHER_FILE_SYSTEM", "lies on another file system", target.path);
        }
        linkSync(source.at, target.at);
        const notes = this.#notes(source.area);
        const noted = notes?.get(source.path);
        if (noted !== undefined) notes?.set(target.path, noted);
      }),
    );
  }

  async setAttributes(path: string, attributes: FileAttributes): Promise<void> {
    await this.#at(path, async (place) => {
      if (place.area.readOnly === true) throw error("DEVICE_READ_ONLY", "is read-only", place.path);
      const stat = this.#lstat(place);
      if (stat === undefined) throw error("DEVICE_NOT_FOUND", "does not exist", place.path);
      const { uid, gid, mode } = attributes;
      if (uid !== undefined || gid !== undefined) this.#own(place, uid ?? stat.uid, gid ?? stat.gid);
      // Changing the owner clears set-uid and set-gid, so the mode comes after it, also when only the owner was asked for.
      const exact = mode ?? (uid !== undefined || gid !== undefined ? stat.mode % 0o10000 : undefined);
      if (exact !== undefined && !stat.isSymbolicLink()) await this.#chmod(place, exact, stat.isDirectory());
      const { mtimeMs, ...lasting } = attributes;
      const { mode: _mode, ...forLink } = lasting;
      const after = this.#lstat(place);
      if (after !== undefined) this.#note(place, stat.isSymbolicLink() ? forLink : lasting, after);
      if (mtimeMs !== undefined) await lutimes(place.at, stat.atimeMs / 1000, mtimeMs / 1000);
      if (attributes.selinuxLabel !== undefined || attributes.capabilities !== undefined) {
        await this.#labelsOf(place.area)?.set(throughRoot(place), attributes);
      }
    });
  }

  /** Who keeps an area's labels besides the notes. */
  #labelsOf(area: DiskArea): LabelTool | undefined {
    return this.#notes(area) === undefined ? this.#labels : undefined;
  }

  #own(place: Place, uid: number, gid: number): void {
    try {
      lchownSync(throughRoot(place), uid, gid);
    } catch (e) {
      // Without root an image notes the owner instead.
      if (this.#notes(place.area) === undefined || systemCode(e) !== "EPERM") throw e;
    }
  }

  async #chmod(place: Place, mode: number, isFolder: boolean): Promise<void> {
    // Through a handle that only names the file: its own mode may forbid opening it.
    const O_PATH = 0o10000000;
    const fd = openSync(throughRoot(place), O_PATH | constants.O_NOFOLLOW);
    try {
      await chmod(`/proc/self/fd/${fd}`, this.#realMode(place, mode, isFolder));
    } finally {
      closeSync(fd);
    }
  }

  async attributes(path: string): Promise<FileAttributes> {
    return this.#at(path, async (place) => {
      const stat = this.#lstat(place);
      if (stat === undefined) throw error("DEVICE_NOT_FOUND", "does not exist", place.path);
      const real = { uid: stat.uid, gid: stat.gid, mode: stat.mode % 0o10000 };
      return {
        ...real,
        ...(await this.#labelsOf(place.area)?.get(throughRoot(place))),
        ...this.#notes(place.area)?.get(place.path),
      };
    });
  }

  async syncFolder(path: string): Promise<void> {
    await this.#at(path, async (place) => {
      const { O_RDONLY, O_DIRECTORY } = constants;
      if (this.#lstat(place)?.isSymbolicLink() === true) {
        throw error("DEVICE_LINK_REFUSED", "is a symbolic link, which is not followed", place.path);
      }
      const folder = await open(Buffer.concat([place.at, Buffer.from("/.")]), O_RDONLY | O_DIRECTORY);
      try {
        await folder.sync();
      } catch (e) {
        // Some file systems (9p, some FUSE) cannot flush a folder; their names are as durable as they get.
        if (systemCode(e) !== "EINVAL") throw e;
      } finally {
        await folder.close();
      }
    });
  }

  async space(path: string): Promise<{ readonly freeBytes: number; readonly volatile: boolean }> {
    const area = await this.#area(normalPath(path));
    const parts = pathParts(normalPath(path).slice(area.at === "/" ? 0 : area.at.length) || "/");
    // The deepest folder that is there decides: on a board another file system may begin anywhere on the way.
    for (; ; parts.pop()) {
      let folder: FolderHandle;
      try {
        folder = openFolder(area.folder, parts, path);
      } catch (e) {
        const missing = e instanceof OtaError && (e.code === "DEVICE_NOT_FOUND" || e.code === "DEVICE_NOT_FOLDER");
        if (!missing || parts.length === 0) throw e;
        continue;
      }
      try {
        const fs = await statfs(Buffer.concat([folder.self, Buffer.from("/.")]));
        return {
          freeBytes:
            (typeof area.freeBytes === "function" ? await area.freeBytes() : area.freeBytes) ?? fs.bavail * fs.bsize,
          volatile: area.volatile ?? (fs.type === TMPFS || fs.type >>> 0 === RAMFS),
        };
      } finally {
        folder.close();
      }
    }
  }
}

/** {@link FileStore} over real folders. */
export function diskFiles(options: DiskFilesOptions): FileStore {
  return new DiskFiles(options);
}
