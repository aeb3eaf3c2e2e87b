/** Block functions of 7.1: range_sha1, block_image_update, block_image_verify, check_first_block, block_image_recover. */
import { checkCancel, memoryReader } from "../../../core/streams.ts";
import { readU16, readU32 } from "../../../core/bytes.ts";
import type { RandomReader } from "../../../core/ports.ts";
import type { ZipEntry } from "../../../core/zip/index.ts";
import { BLOCK_SIZE, hashBlocks } from "../../block-update/blocks.ts";
import { parseRanges } from "../../block-update/ranges.ts";
import { runBlockUpdate } from "../../block-update/run.ts";
import { MAX_TRANSFER_LIST } from "../../block-update/transfer-list.ts";
import { EdifyAbort } from "../../edify/evaluate.ts";
import type { EdifyInvocation } from "../../edify/evaluate.ts";
import { fromLatin1, unicode } from "../../latin1.ts";
import { devicePath, failureText, nodeKind, openTarget, orFail } from "../device-files.ts";
import type { UpdaterSession } from "../host.ts";
import { CAUSES, ProcessExit } from "../host.ts";
import { heldOnCache } from "../cache-room.ts";
import { newDataSize, newDataStream } from "../new-data.ts";
import { MAX_IN_MEMORY } from "./common.ts";
import type { FunctionTable } from "./common.ts";
import { printToScreen } from "./messages.ts";

const DAYS = ["Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"];
const MONTHS = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

/** C's `ctime` in UTC, with its newline. */
function ctime(seconds: number): string {
  const d = new Date(seconds * 1000);
  const two = (n: number): string => String(n).padStart(2, "0");
  const time = `${two(d.getUTCHours())}:${two(d.getUTCMinutes())}:${two(d.getUTCSeconds())}`;
  return `${DAYS[d.getUTCDay()]} ${MONTHS[d.getUTCMonth()]} ${String(d.getUTCDate()).padStart(2)} ${time} ${d.getUTCFullYear()}\n`;
}

export function blockFunctions(session: UpdaterSession): FunctionTable {
  const { device, host } = session;
  if (host.era === "4.4") return {};

  /** A failure that the script sees as an empty string; 7.1 remembers its cause. */
  const soft = (text: string, cause?: number): string => {
    session.log(`${text}\n`);
    if (cause !== undefined) session.causeCode ??= cause;
    return "";
  };

  const unread = (name: string, why: string): string => soft(`failed to read ${name}: ${why}`, CAUSES.read);

  const malformed = (text: string): string => {
    // The original ends the process here. That helps nobody: the statement fails instead.
    if (!session.safe) throw new ProcessExit(1);
    return soft(`failed to parse range '${text}'`);
  };

  const stringArgument = async (call: EdifyInvocation, index: number, what: string): Promise<string> => {
    const node = call.args[index];
    const value = node === undefined ? undefined : await call.value(node);
    if (typeof value === "string") return value;
    throw new EdifyAbort(`${what} argument to ${call.name} must be string`, CAUSES.arguments);
  };

  /** Patches are stored, so that they are read where they are. */
  const patchData = async (entry: ZipEntry): Promise<RandomReader> =>
    entry.method === 0 ? host.zip.raw(entry) : memoryReader(await host.zip.read(entry, MAX_IN_MEMORY));

  const blockImage = async (call: EdifyInvocation, write: boolean): Promise<string> => {
    if (call.args.length !== 4) {
      throw new EdifyAbort(`${call.name} expects 4 arguments, got ${call.args.length}`, CAUSES.arguments);
    }
    const values = [];
    for (const node of call.args) values.push(await call.value(node));
    const [name, list, newName, patchName] = values;
    const wrong = (what: string): never => {
      throw new EdifyAbort(
        `${what} argument to ${call.name} must be ${what === "transfer_list" ? "blob" : "string"}`,
        CAUSES.arguments,
      );
    };
    if (typeof name !== "string") return wrong("blockdev_filename");
    if (typeof list !== "object") return wrong("transfer_list");
    if (typeof newName !== "string") return wrong("new_data_fn");
    if (typeof patchName !== "string") return wrong("patch_data_fn");
    const patchEntry = host.zip.get(unicode(patchName));
    if (patchEntry === undefined) return soft(`${call.name}(): no file "${patchName}" in package`);
    const newEntry = host.zip.get(unicode(newName));
    if (newEntry === undefined) return soft(`${call.name}(): no file "${newName}" in package`);
    if (list.size < 0 || list.size > MAX_TRANSFER_LIST) return soft("the transfer list cannot be read");
    const path = devicePath(name);
    await session.settle();
    let target;
    try {
      target = await openTarget(device, path, write ? "write" : "read");
    } catch (e) {
      return soft(`open "${name}" failed: ${failureText(e)}`, CAUSES.open);
    }
    try {
      const bytes = await list.bytes();
      const transferList = fromLatin1(bytes);
      const journal = session.blockJournal(name, bytes);
      const result = await runBlockUpdate(
        {
          device,
          profile: host.profile,
          keep: host.keep,
          log: (text) => session.log(text),
          pipe: (line) => host.pipe(line),
          checkCancel: () => checkCancel(host.cancel),
          ...(session.safe ? { heldOnCache: () => heldOnCache(session) } : {}),
          ...(journal === undefined ? {} : { journal }),
        },
        {
          name,
          target,
          isBlockDevice: (await nodeKind(device, path)) === "block",
          transferList,
          newData: () => newDataStream(device, host.zip, newEntry),
          newSize: newDataSize(newEntry),
          patchData: await patchData(patchEntry),
          write,
        },
      );
      if (result.done && !write) session.proven.add(name);
      if (result.readError) session.sawReadError = true;
      if (result.malformedRange && !session.safe) throw new ProcessExit(1);
      return result.done ? "t" : "";
    } catch (e) {
      if (e instanceof ProcessExit) throw e;
      return soft(`${call.name} failed: ${failureText(e)}`);
    } finally {
      await target.close();
    }
  };

  return {
    block_image_verify: (call) => blockImage(call, false),
    block_image_update: (call) => blockImage(call, true),

    async range_sha1(call) {
      if (call.args.length !== 2) {
        throw new EdifyAbort(`${call.name} expects 2 arguments, got ${call.args.length}`, CAUSES.arguments);
      }
      const name = await stringArgument(call, 0, "blockdev_filename");
      const text = await stringArgument(call, 1, "ranges");
      const set = parseRanges(text);
      if (set === undefined) return malformed(text);
      session.proven.add(name);
      const known = await session.rememberedHash(name, text);
      if (known !== undefined) return known;
      try {
        const target = await openTarget(device, devicePath(name), "read");
        try {
          const sha1 = await orFail(
            () => hashBlocks(device, target, set),
            (why) => unread(name, why),
          );
          if (sha1 !== "") await session.rememberHash(name, text, sha1);
          return sha1;
        } finally {
          await target.close();
        }
      } catch (e) {
        return soft(`open "${name}" failed: ${failureText(e)}`, CAUSES.open);
      }
    },

    async check_first_block(call) {
      if (call.args.length !== 1) {
        throw new EdifyAbort(`${call.name} expects 1 argument, got ${call.args.length}`, CAUSES.arguments);
      }
      const name = await stringArgument(call, 0, "filename");
      try {
        const target = await openTarget(device, devicePath(name), "read");
        try {
          const block = await orFail(
            () => target.read(0, BLOCK_SIZE),
            (why) => (unread(name, why), undefined),
          );
          if (block === undefined) return "";
          // The superblock of ext4 stands at 1024: last mount at 2C, mounts since the last check at 34.
          const mounts = readU16(block, 1024 + 0x34);
          if (mounts > 0) {
            printToScreen(session, `Device was remounted R/W ${mounts} times\n`);
            printToScreen(session, `Last remount happened on ${ctime(readU32(block, 1024 + 0x2c))}`);
          }
          return "t";
        } finally {
          await target.close();
        }
      } catch (e) {
        return soft(`open "${name}" failed: ${failureText(e)}`, CAUSES.open);
      }
    },

    async block_image_recover(call) {
      if (call.args.length !== 2) {
        throw new EdifyAbort(`${call.name} expects 2 arguments, got ${call.args.length}`, CAUSES.arguments);
      }
      const name = await stringArgument(call, 0, "filename");
      const ranges = await stringArgument(call, 1, "ranges");
      if (parseRanges(ranges) === undefined) return malformed(ranges);
      // Needs the error correction data of dm-verity, which this updater does not read: the script says so and stops.
      return soft(`fec_open "${name}" failed: no error correction data`, CAUSES.fec);
    },
  };
}
