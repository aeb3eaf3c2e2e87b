/** Functions on files: delete, link, rename, read, extract. */
import { concatBytes } from "../../../core/bytes.ts";
import { isOtaError, OtaError } from "../../../core/errors.ts";
import type { ByteStream, FileAttributes } from "../../../core/ports.ts";
import { streamRange } from "../../../core/streams.ts";
import type { ZipEntry } from "../../../core/zip/index.ts";
import { isPartitionName, loadContents } from "../../applypatch/contents.ts";
import { EdifyAbort } from "../../edify/evaluate.ts";
import type { EdifyBlob, EdifyInvocation } from "../../edify/evaluate.ts";
import { toLatin1, unicode } from "../../latin1.ts";
import {
  devicePath,
  digestOf,
  failureText,
  makeParents,
  nodeKind,
  openTarget,
  orFail,
  parentOf,
  writeStream,
} from "../device-files.ts";
import type { UpdaterSession } from "../host.ts";
import { CAUSES } from "../host.ts";
import { countError, exactly, FAILED_BLOB, firstOf, MAX_IN_MEMORY, notEmpty } from "./common.ts";
import type { FunctionTable } from "./common.ts";

/** Time of every extracted file: 2008-08-01 12:00 UTC. */
const EXTRACTED_MS = 1217592000_000;

/** Removes a folder with everything in it, or a file or link. No link is followed. */
export async function removeTree(session: UpdaterSession, path: string): Promise<void> {
  const { files } = session.device;
  const info = await files.stat(path);
  if (info?.kind === "folder") {
    for (const name of await files.list(path)) await removeTree(session, `${path}/${name}`);
  }
  await files.remove(path);
}

/** Removes what is no folder. @throws what the port throws; false for a folder */
async function unlink(session: UpdaterSession, path: string): Promise<void> {
  const { files } = session.device;
  const info = await files.stat(path);
  if (info === undefined) throw new UnlinkFailure("No such file or directory", true);
  if (info.kind === "folder") throw new UnlinkFailure("Is a directory", false);
  await files.remove(path);
  session.touched(path);
}

class UnlinkFailure extends Error {
  readonly missing: boolean;

  constructor(text: string, missing: boolean) {
    super(text);
    this.missing = missing;
  }
}

/** The content of a package entry as a value. */
export function entryBlob(session: UpdaterSession, entry: ZipEntry): EdifyBlob {
  const { zip } = session.host;
  return {
    kind: "blob",
    size: entry.size,
    stream: () => zip.stream(entry),
    bytes: () => zip.read(entry, MAX_IN_MEMORY),
  };
}

/** Content that is read when it is wanted. */
function streamedBlob(size: number, stream: () => ByteStream): EdifyBlob {
  return {
    kind: "blob",
    size,
    stream,
    bytes: async () => {
      const parts: Uint8Array[] = [];
      for await (const part of stream()) parts.push(part);
      return concatBytes(...parts);
    },
  };
}

/** What one of the sizes and digests in a partition's name defines of it. */
async function readPartition(session: UpdaterSession, name: string): Promise<EdifyBlob> {
  const { device } = session;
  const loaded = await loadContents({ device, log: (text) => session.log(text) }, name);
  if (loaded === undefined) return FAILED_BLOB;
  await loaded.close();
  return streamedBlob(loaded.reader.size, async function* () {
    const again = await loadContents({ device, log: () => undefined }, name);
    if (again === undefined) throw new OtaError("DEVICE_IO", { what: "the partition has changed", where: name });
    try {
      yield* streamRange(again.reader);
    } finally {
      await again.close();
    }
  });
}

export function fileFunctions(session: UpdaterSession): FunctionTable {
  const { host, device } = session;
  const { files } = device;
  const old = host.era === "4.4";

  const countDeleted = async (call: EdifyInvocation, remove: (path: string) => Promise<void>): Promise<string> => {
    const names = await call.strings();
    let deleted = 0;
    for (const name of names) {
      const path = devicePath(name);
      try {
        if (name === "") continue;
        await remove(path);
        deleted++;
        session.touched(path);
      } catch (e) {
        if (!(e instanceof UnlinkFailure)) session.lost(e, `${call.name} of ${name}`);
      }
    }
    return String(deleted);
  };

  const label = (path: string, kind: "file" | "folder" | "link"): FileAttributes => {
    // The recordings were made where labels of new files come to nothing; a board is labelled in either profile.
    const labelling = session.safe || device.kind === "board";
    const text = labelling ? host.contexts?.lookup(path, kind) : undefined;
    return text === undefined ? {} : { selinuxLabel: text };
  };

  /** Folders up to `folder`, labelled, mode 0755. */
  const makeFolders = async (folder: string): Promise<void> => {
    const missing: string[] = [];
    for (let at = folder; at !== "/"; at = parentOf(at)) {
      if ((await files.stat(at)) !== undefined) break;
      missing.push(at);
    }
    for (const path of missing.reverse()) {
      await files.makeFolder(path, 0o755);
      const attributes = label(path, "folder");
      if (attributes.selinuxLabel !== undefined) await files.setAttributes(path, attributes);
      session.touched(path);
    }
  };

  const writeFile = async (path: string, content: ByteStream, mode: number): Promise<void> => {
    const fresh = (await files.stat(path)) === undefined;
    const file = await files.open(path, "create", mode);
    try {
      await writeStream(file, content);
      await file.sync();
    } finally {
      await file.close();
    }
    const attributes = label(path, "file");
    if (fresh && attributes.selinuxLabel !== undefined) await files.setAttributes(path, attributes);
    session.touched(path);
  };

  /** Writes a file, or a device node when the name is one. */
  const writeAnywhere = async (path: string, entry: ZipEntry, mode: number): Promise<void> => {
    if ((await nodeKind(device, path)) === undefined) return writeFile(path, host.zip.stream(entry), mode);
    const target = await openTarget(device, path, "write");
    try {
      await writeStream(target, host.zip.stream(entry));
      await target.flush();
    } finally {
      await target.close();
    }
  };

  const extractTo = async (call: EdifyInvocation, name: string, destination: string): Promise<string> => {
    const entry = host.zip.get(unicode(name));
    if (entry === undefined) {
      session.log(`${call.name}: no ${name} in package\n`);
      return "";
    }
    return orFail(
      async () => {
        await session.settle();
        await writeAnywhere(devicePath(destination), entry, old ? 0o644 : 0o600);
        return "t";
      },
      (text) => {
        session.log(`${call.name}: can't open ${destination} for write: ${text}\n`);
        return "";
      },
    );
  };

  return {
    delete: (call) => countDeleted(call, (path) => unlink(session, path)),

    delete_recursive: (call) =>
      countDeleted(call, async (path) => {
        if ((await files.stat(path)) === undefined) throw new UnlinkFailure("No such file or directory", true);
        await removeTree(session, path);
      }),

    async package_extract_dir(call) {
      const [from, to] = (await exactly(call, 2)) as [string, string];
      if (from.startsWith("/") || !to.startsWith("/")) {
        session.log(`${call.name}: the folder in the package is relative, the destination absolute\n`);
        return "";
      }
      const prefix = from === "" ? "" : `${unicode(from).replace(/\/+$/, "")}/`;
      const target = devicePath(to).replace(/\/+$/, "");
      let count = 0;
      for (const entry of host.zip.entries) {
        if (!entry.name.startsWith(prefix) || entry.name.endsWith("/")) continue;
        const path = `${target}/${entry.name.slice(prefix.length)}`;
        try {
          await makeFolders(parentOf(path));
          await writeFile(path, host.zip.stream(entry), 0o644);
          await files.setAttributes(path, { mtimeMs: EXTRACTED_MS });
        } catch (e) {
          const text = failureText(e);
          session.log(`${call.name}: can't write ${path}: ${text}\n`);
          // 4.4 overlooks damaged data of an entry, only failing to make the file counts there.
          const data = isOtaError(e) && e.kind === "format";
          if (!(old && data && !session.safe)) return "";
        }
        count++;
      }
      session.log(`Extracted ${count} file(s)\n`);
      return "t";
    },

    async package_extract_file(call) {
      if (call.args.length !== 1 && call.args.length !== 2) throw countError(call, "1 or 2 args");
      const [name, destination] = await call.strings();
      if (destination !== undefined) return extractTo(call, name as string, destination);
      const entry = host.zip.get(unicode(name as string));
      if (entry !== undefined) return entryBlob(session, entry);
      session.log(`${call.name}: no ${name} in package\n`);
      return FAILED_BLOB;
    },

    async symlink(call) {
      if (call.args.length === 0) throw countError(call, "1+ args");
      const [target, ...links] = (await call.strings()) as [string, ...string[]];
      let failures = 0;
      for (const name of links) {
        const path = devicePath(name);
        try {
          await unlink(session, path);
        } catch (e) {
          const missing = e instanceof UnlinkFailure && e.missing;
          if (!missing) {
            const text = e instanceof UnlinkFailure ? e.message : failureText(e);
            session.log(`${call.name}: failed to remove ${name}: ${text}\n`);
            failures++;
          }
        }
        await orFail(
          async () => {
            await makeParents(device, path, 0o700);
            await files.makeLink(path, unicode(target));
            session.touched(path);
          },
          (text) => {
            session.log(`${call.name}: failed to symlink ${name} to ${target}: ${text}\n`);
            failures++;
          },
        );
      }
      if (failures > 0) throw new EdifyAbort(`${call.name}: some symlinks failed`, CAUSES.symlink);
      return "";
    },

    async rename(call) {
      const [source, target] = (await exactly(call, 2)) as [string, string];
      notEmpty(call, { src_name: source, dst_name: target });
      const from = devicePath(source);
      const to = devicePath(target);
      // Since 5.0 a second run finds the work done, and folders are made; the safe profile does so for 4.4 as well.
      const lenient = !old || session.safe;
      return orFail(
        async () => {
          if (lenient) {
            await makeParents(device, to, 0o700, (folder) => session.log(`created [${folder}]\n`));
            session.touchedFolder(parentOf(parentOf(to)));
            if ((await files.stat(from)) === undefined && (await files.stat(to)) !== undefined) return target;
          }
          await files.rename(from, to);
          session.touched(from);
          session.touched(to);
          return target;
        },
        (text) => {
          throw new EdifyAbort(`Rename of ${source}() to ${target}() failed, error ${text}()`, CAUSES.rename);
        },
      );
    },

    async read_file(call) {
      const [name] = (await exactly(call, 1)) as [string];
      if (isPartitionName(name)) return readPartition(session, name);
      const path = devicePath(name);
      const fail = (text: string): EdifyBlob => {
        session.log(`failed to stat "${name}": ${text}\n`);
        return FAILED_BLOB;
      };
      return orFail(
        async () => {
          const info = await files.stat(path);
          if (info === undefined) return fail("No such file or directory");
          if (info.kind === "link") return fail("Too many levels of symbolic links");
          if (info.kind !== "file") return fail("Is a directory");
          return streamedBlob(info.size, async function* () {
            const file = await files.open(path, "read");
            try {
              yield* streamRange(file);
            } finally {
              await file.close();
            }
          });
        },
        (text) => fail(text),
      );
    },

    async sha1_check(call) {
      if (call.args.length < 1) {
        throw new EdifyAbort(`${call.name}() expects at least 1 arg`, CAUSES.arguments);
      }
      const [subject, ...others] = call.args;
      const value = await call.value(subject as NonNullable<typeof subject>);
      const digests: (string | undefined)[] = [];
      for (const node of others) {
        const other = await call.value(node);
        digests.push(typeof other === "string" ? other : undefined);
      }
      if (typeof value !== "string" && value.size < 0) return "";
      let found: string;
      if (typeof value === "string") {
        const digest = device.digests.create("sha1");
        digest.update(toLatin1(value));
        found = [...digest.digest()].map((b) => b.toString(16).padStart(2, "0")).join("");
      } else {
        try {
          found = await digestOf(device, "sha1", value.stream());
        } catch (e) {
          failureText(e);
          return "";
        }
      }
      if (others.length === 0) return found;
      for (const [i, text] of digests.entries()) {
        if (text === undefined) session.log(`${call.name}(): arg ${i + 1} is not a string; skipping`);
        else if (!/^[0-9a-fA-F]{40}$/.test(text)) {
          session.log(`${call.name}(): error parsing "${text}" as sha-1; skipping`);
        } else if (text.toLowerCase() === found) return text;
      }
      return "";
    },

    ...(old
      ? {}
      : {
          async write_value(call): Promise<string> {
            const [value, name] = (await firstOf(call, 2)) as [string, string];
            if (call.args.length !== 2) throw countError(call, "2 args");
            notEmpty(call, { filename: name });
            return orFail(
              async () => {
                await writeFile(
                  devicePath(name),
                  (async function* () {
                    if (value !== "") yield toLatin1(value);
                  })(),
                  0o644,
                );
                return "t";
              },
              (text) => {
                session.log(`${call.name}: can't write ${name}: ${text}\n`);
                return "";
              },
            );
          },
        }),
  };
}
