/** The simulated device's files: one tree made of the root file system and what is mounted in it. */
import { OtaError, checkRange, compareBytes, encodeText } from "../../core/index.ts";
import type { ErrorCode, FileStore, OpenFile } from "../../core/index.ts";
import { isInside, pathParts } from "../paths.ts";
import type { FileSystemMedium, Inode } from "./file-system-medium.ts";
import { FILE_BLOCK } from "./file-system-medium.ts";
import type { Machine } from "./machine.ts";
import { WRITE_UNIT, eachPiece } from "./operations.ts";
import type { Birth } from "./operations.ts";

/** A file system and where it is seen. */
export interface FileArea {
  /** Folder it is mounted at, `/` for the root, in normal spelling. */
  readonly at: string;
  readonly medium: number;
  readonly readOnly: boolean;
}

/** Where a path leads: a name in a folder, and the inode it means, if any. */
interface Place {
  readonly area: FileArea;
  readonly fs: FileSystemMedium;
  /** Folder and name; the root of an area has no name. */
  readonly folder: number;
  readonly name: string;
  readonly ino: number | undefined;
  readonly path: string;
}

function fail(code: ErrorCode, what: string, where: string): never {
  throw new OtaError(code, { what, where });
}

const byName = (a: string, b: string): number => compareBytes(encodeText(a), encodeText(b));

class SimulatedFiles {
  readonly machine: Machine;
  readonly areas: () => readonly FileArea[];

  constructor(machine: Machine, areas: () => readonly FileArea[]) {
    this.machine = machine;
    this.areas = areas;
  }

  area(path: string): FileArea {
    let best: FileArea | undefined;
    for (const area of this.areas()) {
      if (isInside(path, area.at) && (best === undefined || area.at.length > best.at.length)) best = area;
    }
    return best ?? fail("DEVICE_NOT_FOUND", "no file system is mounted here", path);
  }

  /** Follows a path; undefined when a folder on the way is missing. @throws OtaError DEVICE_LINK_REFUSED, DEVICE_NOT_FOLDER */
  place(given: string): Place | undefined {
    this.machine.check();
    const all = pathParts(given);
    const path = `/${all.join("/")}`;
    const area = this.area(path);
    const fs = this.machine.world.media[area.medium] as FileSystemMedium;
    const parts = area.at === "/" ? all : pathParts(path.slice(area.at.length) || "/");
    const name = parts.pop();
    let folder = fs.root;
    if (name === undefined) return { area, fs, folder, name: "", ino: fs.root, path };
    for (const part of parts) {
      const ino = fs.inode(folder)?.entries.get(part);
      if (ino === undefined) return undefined;
      const kind = fs.inode(ino)?.kind;
      if (kind === "link") fail("DEVICE_LINK_REFUSED", "leads through a symbolic link, which is not followed", path);
      if (kind !== "folder") fail("DEVICE_NOT_FOLDER", "a part of the path is no folder", path);
      folder = ino;
    }
    return { area, fs, folder, name, ino: fs.inode(folder)?.entries.get(name), path };
  }

  /** A place whose folder is there. */
  inFolder(path: string): Place {
    return this.place(path) ?? fail("DEVICE_NOT_FOUND", "does not exist", path);
  }

  /** A place where something is. */
  existing(path: string): Place & { readonly ino: number; readonly inode: Inode } {
    const place = this.inFolder(path);
    const inode = place.ino === undefined ? undefined : place.fs.inode(place.ino);
    if (place.ino === undefined || inode === undefined) return fail("DEVICE_NOT_FOUND", "does not exist", path);
    return { ...place, ino: place.ino, inode };
  }

  /** A place in which a name may be made, removed or changed. */
  writable(path: string): Place {
    const place = this.inFolder(path);
    if (place.area.readOnly) fail("DEVICE_READ_ONLY", "is read-only", path);
    if (place.name === "") fail("DEVICE_BUSY", "is the root of a file system", path);
    return place;
  }

  names(place: Place, ino: number | undefined, birth?: Birth): void {
    this.machine.perform({
      kind: "names",
      medium: place.area.medium,
      where: place.path,
      changes: [{ folder: place.folder, name: place.name, ino }],
      ...(birth === undefined ? {} : { birth }),
    });
  }

  make(place: Place, kind: Birth["kind"], mode: number, text = ""): number {
    const ino = place.fs.newIno();
    this.names(place, ino, { ino, kind, mode, uid: 0, gid: 0, text });
    return ino;
  }

  /** @throws OtaError DEVICE_NO_SPACE unless a file may grow from one size to another */
  checkSpace(fs: FileSystemMedium, from: number, to: number, where: string): void {
    const more = (Math.ceil(to / FILE_BLOCK) - Math.ceil(from / FILE_BLOCK)) * FILE_BLOCK;
    if (more > fs.freeBytes) {
      throw new OtaError("DEVICE_NO_SPACE", { what: "no room is left", where, expected: more, found: fs.freeBytes });
    }
  }

  openFile({ area, fs, path }: Place, ino: number, canWrite: boolean): OpenFile {
    const { machine } = this;
    const checkSpace = (from: number, to: number): void => this.checkSpace(fs, from, to, path);
    const inode = (): Inode => fs.inode(ino) as Inode;
    const medium = area.medium;
    const checkWrite = (): void => {
      machine.check();
      if (!canWrite) fail("DEVICE_READ_ONLY", "the file was opened for reading", path);
    };
    return {
      get size() {
        return inode().content.size;
      },
      async read(offset, length) {
        machine.checkRead(path);
        const { content } = inode();
        checkRange(content.size, offset, length);
        return content.read(offset, length);
      },
      async write(offset, bytes) {
        checkWrite();
        const copy = bytes.slice();
        eachPiece(offset, copy.length, WRITE_UNIT, (at, n) => {
          const { size } = inode().content;
          checkSpace(size, Math.max(size, at + n));
          const part = copy.subarray(at - offset, at - offset + n);
          machine.perform({ kind: "data", medium, where: path, ino, offset: at, bytes: part });
        });
      },
      async truncate(size) {
        checkWrite();
        checkSpace(inode().content.size, size);
        machine.perform({ kind: "size", medium, where: path, ino, size });
      },
      async sync() {
        machine.check();
        if (canWrite) machine.perform({ kind: "sync-file", medium, where: path, ino });
      },
      async close() {},
    };
  }
}

/** {@link FileStore} over the areas that are mounted at the moment of each call. */
export function simulatedFiles(machine: Machine, areas: () => readonly FileArea[]): FileStore {
  const files = new SimulatedFiles(machine, areas);
  const refuseLink = (inode: Inode | undefined, path: string): void => {
    if (inode?.kind === "link") fail("DEVICE_LINK_REFUSED", "is a symbolic link, which is not followed", path);
  };
  return {
    async stat(path) {
      const place = files.place(path);
      const inode = place?.ino === undefined ? undefined : place.fs.inode(place.ino);
      if (inode === undefined) return undefined;
      const { kind, mode, uid, gid, mtimeMs, content, text } = inode;
      const size = kind === "file" ? content.size : kind === "link" ? encodeText(text).length : 0;
      return { kind, size, mode: kind === "link" ? 0o777 : mode, uid, gid, mtimeMs };
    },
    async list(path) {
      const { inode } = files.existing(path);
      refuseLink(inode, path);
      if (inode.kind !== "folder") fail("DEVICE_NOT_FOLDER", "is no folder", path);
      return [...inode.entries.keys()].sort(byName);
    },
    async open(path, how, mode = 0o644) {
      const place = files.inFolder(path);
      const inode = place.ino === undefined ? undefined : place.fs.inode(place.ino);
      refuseLink(inode, path);
      if (inode?.kind === "folder") {
        if (how === "create-new") fail("DEVICE_EXISTS", "exists already", path);
        fail("DEVICE_NOT_FILE", "is a folder", path);
      }
      if (how !== "read" && place.area.readOnly) fail("DEVICE_READ_ONLY", "is read-only", path);
      if (place.ino !== undefined && inode !== undefined) {
        if (how === "create-new") fail("DEVICE_EXISTS", "exists already", path);
        const file = files.openFile(place, place.ino, how !== "read");
        if (how === "create" && inode.content.size > 0) await file.truncate(0);
        return file;
      }
      if (how === "read" || how === "update") fail("DEVICE_NOT_FOUND", "does not exist", path);
      return files.openFile(place, files.make(files.writable(path), "file", mode), true);
    },
    async makeFolder(path, mode = 0o755) {
      const parts = pathParts(path);
      for (let i = 1; i <= parts.length; i++) {
        const part = `/${parts.slice(0, i).join("/")}`;
        const place = files.inFolder(part);
        const inode = place.ino === undefined ? undefined : place.fs.inode(place.ino);
        refuseLink(inode, part);
        if (inode?.kind === "folder") continue;
        if (inode !== undefined) {
          fail(i === parts.length ? "DEVICE_EXISTS" : "DEVICE_NOT_FOLDER", "is no folder", part);
        }
        files.make(files.writable(part), "folder", i === parts.length ? mode : 0o755);
      }
    },
    async rename(from, to) {
      const source = files.existing(from);
      const target = files.writable(to);
      files.writable(from);
      if (source.area.medium !== target.area.medium)
        fail("DEVICE_OTHER_FILE_SYSTEM", "lies on another file system", to);
      if (source.inode.kind === "folder" && target.path !== source.path && isInside(target.path, source.path)) {
        fail("DEVICE_WRONG_KIND", "a folder cannot move into itself", to);
      }
      const old = target.ino === undefined ? undefined : target.fs.inode(target.ino);
      if (target.ino === source.ino) return;
      if (old !== undefined) {
        if (source.inode.kind === "folder" && old.kind !== "folder") fail("DEVICE_NOT_FOLDER", "is no folder", to);
        if (source.inode.kind !== "folder" && old.kind === "folder") fail("DEVICE_NOT_FILE", "is a folder", to);
        if (old.entries.size > 0) fail("DEVICE_NOT_EMPTY", "the folder is not empty", to);
      }
      machine.perform({
        kind: "names",
        medium: source.area.medium,
        where: `${source.path} -> ${target.path}`,
        changes: [
          { folder: source.folder, name: source.name, ino: undefined },
          { folder: target.folder, name: target.name, ino: source.ino },
        ],
      });
    },
    async remove(path) {
      const { inode } = files.existing(path);
      const place = files.writable(path);
      if (inode.entries.size > 0) fail("DEVICE_NOT_EMPTY", "the folder is not empty", path);
      files.names(place, undefined);
    },
    async readLink(path) {
      const { inode } = files.existing(path);
      if (inode.kind !== "link") fail("DEVICE_WRONG_KIND", "is no symbolic link", path);
      return inode.text;
    },
    async makeLink(path, text) {
      const place = files.writable(path);
      if (place.ino !== undefined) fail("DEVICE_EXISTS", "exists already", path);
      if (text === "") fail("DEVICE_NOT_FOUND", "a link to nothing cannot be made", path);
      files.make(place, "link", 0o777, text);
    },
    async makeHardLink(existing, path) {
      const source = files.existing(existing);
      const place = files.writable(path);
      refuseLink(source.inode, existing);
      if (source.inode.kind !== "file") fail("DEVICE_NOT_FILE", "is no regular file", existing);
      if (place.ino !== undefined) fail("DEVICE_EXISTS", "exists already", path);
      if (source.area.medium !== place.area.medium)
        fail("DEVICE_OTHER_FILE_SYSTEM", "lies on another file system", path);
      files.names(place, source.ino);
    },
    async setAttributes(path, attributes) {
      const { area, ino, path: where } = files.existing(path);
      if (area.readOnly) fail("DEVICE_READ_ONLY", "is read-only", path);
      machine.perform({ kind: "attributes", medium: area.medium, where, ino, attributes });
    },
    async attributes(path) {
      const { uid, gid, mode, selinuxLabel, capabilities } = files.existing(path).inode;
      return {
        uid,
        gid,
        mode,
        ...(selinuxLabel === undefined ? {} : { selinuxLabel }),
        ...(capabilities === undefined ? {} : { capabilities }),
      };
    },
    async syncFolder(path) {
      const { area, ino, inode, path: where } = files.existing(path);
      refuseLink(inode, path);
      if (inode.kind !== "folder") fail("DEVICE_NOT_FOLDER", "is no folder", path);
      if (!area.readOnly) machine.perform({ kind: "sync-folder", medium: area.medium, where, ino });
    },
    async space(path) {
      machine.check();
      const area = files.area(`/${pathParts(path).join("/")}`);
      const fs = machine.world.media[area.medium] as FileSystemMedium;
      return { freeBytes: fs.freeBytes, volatile: fs.options.volatile };
    },
  };
}
